"""Makes pages and parts of pages from templates, with the headers that keep them harmless."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pydantic_core
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evented_agent.models.cost import dollars, usd_text
from evented_agent.state.attempt_words import outcome_words, task_words
from evented_agent.web.console.static_files import static_address
from evented_agent.web.console.visible import (
    count,
    duration,
    finalized,
    json_text,
    linked,
    moment_tag,
    seconds_text,
    visible,
)
from evented_agent.web.exchange import Exchange, PlainReply
from evented_agent.web.failures import HttpFailure, failure_of
from evented_agent.web.principal import Principal
from evented_agent.web.route import Handler
from evented_agent.web.segments import segment_of
from evented_agent.web.site import Site, WebSteps

PREFIX = "/console"
#: What htmx takes for an answer that is the last one; to a browser it is no error.
_STOP_POLLING = 286
_TEMPLATES = Path(__file__).with_name("templates")
#: Nothing inline, nothing of elsewhere, and in nobody's frame.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS: Mapping[str, str] = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "vary": "HX-Request",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class View:
    """A request of the console, by somebody who may make it.

    Attributes:
        site: What the application was made with.
        exchange: The request.
        who: Who asks.
    """

    site: Site
    exchange: Exchange
    who: Principal

    @property
    def root(self) -> str:
        """Where the application is mounted."""
        return str(self.exchange.request.scope.get("root_path", ""))

    @property
    def is_part(self) -> bool:
        """Whether the page is there, and asks for what may have changed."""
        return self.exchange.request.headers.get("hx-request") == "true"

    def address(self, *parts: str, **query: str | None) -> str:
        """The path of a page of the console, or of what it posts to."""
        return _address(f"{self.root}{PREFIX}", parts, query)

    def native(self, *parts: str, **query: str | None) -> str:
        """The path of a native route."""
        return _address(self.root, parts, query)

    def absolute(self, *parts: str, **query: str | None) -> str:
        """The whole address of a native route, as this request came to it."""
        url = self.exchange.request.url
        return f"{url.scheme}://{url.netloc}{self.native(*parts, **query)}"

    def may(self, name: str) -> bool:
        return name in self.who.scopes

    def reply(self, page: str, /, **values: Any) -> PlainReply:
        """A page; its live part alone where that is asked for, 204 where that is the same.

        The live part of ``runs.html`` is the template ``parts/runs.html``.
        """
        given = {"view": self, **values}
        part = _render(f"parts/{page}.html", given)
        digest = _digest(part)
        if not self.is_part:
            given |= {"part": Markup(part), "digest": digest}  # noqa: S704 - autoescaped
            return PlainReply(200, _render(f"{page}.html", given).encode(), PAGE_HEADERS)
        if self.exchange.request.headers.get("x-have") == digest:
            return PlainReply(204, b"", PAGE_HEADERS)
        return PlainReply(200, part.encode(), {**PAGE_HEADERS, "x-digest": digest})

    def fragment(self, name: str, /, **values: Any) -> PlainReply:
        """A template by itself."""
        return PlainReply(200, _render(name, {"view": self, **values}).encode(), PAGE_HEADERS)

    def done(
        self, said: str, goes_to: str, *, part: str | None = None, **values: Any
    ) -> PlainReply:
        """What was asked is done: the page says so; without scripts, the browser goes to a page.

        *part* is a template that takes the place of what was sent.
        """
        if not self.is_part:
            return PlainReply(303, b"", {**PAGE_HEADERS, "location": goes_to})
        told = pydantic_core.to_json({"said": visible(said)}, inf_nan_mode="null").decode()
        event = "".join(each if each.isascii() else _escape(each) for each in told)
        headers = {**PAGE_HEADERS, "hx-trigger": event}
        if part is None:
            return PlainReply(204, b"", headers)
        return PlainReply(200, _render(part, {"view": self, **values}).encode(), headers)

    def sent_to(self, goes_to: str) -> PlainReply:
        """What was asked is done, and the page is another one now."""
        if not self.is_part:
            return PlainReply(303, b"", {**PAGE_HEADERS, "location": goes_to})
        return PlainReply(204, b"", {**PAGE_HEADERS, "hx-redirect": goes_to})


def failure_page(failure: HttpFailure, root: str | None = None) -> PlainReply:
    """A refusal as a page, which a script reads its sentence from; *root* where that is known."""
    page = _render("failure.html", {"failure": failure, "root": root})
    return PlainReply(failure.status, page.encode(), {**PAGE_HEADERS, **failure.headers})


def with_pages(handler: Handler) -> Handler:
    """*handler*, what it refuses told by a page that looks like the others."""

    @functools.wraps(handler)
    def handle(site: Site, exchange: Exchange) -> WebSteps[Any]:
        try:
            return (yield from handler(site, exchange))
        except Exception as error:  # noqa: BLE001 - each has its status
            failure = failure_of(error)
            if _is_gone(exchange, failure):
                return PlainReply(
                    _STOP_POLLING, _render("parts/gone.html", {}).encode(), PAGE_HEADERS
                )
            root = str(exchange.request.scope.get("root_path", ""))
            return failure_page(failure, root)

    return handle


def _is_gone(exchange: Exchange, failure: HttpFailure) -> bool:
    """Whether a page asks once more for a run or a thread that has been deleted meanwhile."""
    headers, is_read = exchange.request.headers, exchange.request.method == "GET"
    return is_read and headers.get("hx-target") == "live" and failure.status in (404, 410)


def _address(prefix: str, parts: tuple[str, ...], query: Mapping[str, str | None]) -> str:
    path = "".join(f"/{segment_of(part)}" for part in parts)
    given = {name: value for name, value in query.items() if value not in (None, "")}
    asked = f"?{urlencode(given)}" if given else ""
    return f"{prefix}{path}{asked}"


def _escape(sign: str) -> str:
    units = sign.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _digest(value: Any) -> str:
    """Stands for a value where it must be short and harmless."""
    return hashlib.sha256(str(value).encode(errors="backslashreplace")).hexdigest()[:20]


def _render(name: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalized,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": count,
        "digest": _digest,
        "json": json_text,
        "linked": linked,
        "time": moment_tag,
        "dollars": dollars,
        "usd": usd_text,
    }
    made.globals |= {
        "duration": duration,
        "new_id": lambda: uuid4().hex,
        "outcome_words": outcome_words,
        "seconds": seconds_text,
        "static": static_address,
        "task_words": task_words,
    }
    return made
