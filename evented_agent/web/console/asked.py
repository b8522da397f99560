"""What a request of the console says: filters in its query, fields in its form."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pydantic_core

from evented_agent.web.console.view import View
from evented_agent.web.exchange import Exchange, bad_request

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
#: More fields than a form of ours has, the ids of a whole list included.
_MOST_FIELDS = 1_000


@dataclass(frozen=True, slots=True)
class FormFields:
    """The fields of a form that was sent; a field that is empty is none."""

    fields: dict[str, list[str]]

    def text(self, name: str) -> str | None:
        return next((each for each in self.fields.get(name, []) if each.strip()), None)

    def all(self, name: str) -> Sequence[str]:
        return self.fields.get(name, [])

    def needed(self, name: str) -> str:
        found = self.text(name)
        if found is None:
            raise bad_request(f"{name} is missing.")
        return found

    def json(self, name: str) -> Any:
        given = self.needed(name)
        try:
            return pydantic_core.from_json(given, allow_inf_nan=False)
        except ValueError as error:
            raise bad_request(f"The {name} are not JSON: {error}.") from None

    def object(self, name: str) -> dict[str, Any]:
        found = self.json(name)
        if not isinstance(found, dict):
            raise bad_request(f"The {name} are no JSON object.")
        return found

    def number(self, name: str) -> int:
        given = self.needed(name)
        is_number = given.isascii() and given.isdigit() and len(given) <= 16
        if not (is_number and 0 < int(given) < 2**53):
            raise bad_request(f"{name}={given[:40]!r} is none.")
        return int(given)


def form_of(exchange: Exchange) -> FormFields:
    try:
        text = exchange.body.decode("utf-8")
        return FormFields(parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise bad_request(f"The form cannot be read: {error}.") from None


def asked_for(exchange: Exchange, name: str) -> str | None:
    """A parameter of the query; None for an empty one, as forms send them."""
    return (exchange.query(name) or "").strip() or None


def scope_of(view: View) -> dict[str, Any]:
    """What lists are narrowed to, whatever was asked for: one's own, the agent that is served."""
    exchange, who = view.exchange, view.who
    agent = view.site.agent or asked_for(exchange, "agent")
    whose = asked_for(exchange, "resource_id") if who.all_resources else who.resource_id
    return {"agent": agent, "resource_id": whose}


def since_in(exchange: Exchange) -> datetime | None:
    """A span before now (``15m``, ``24h``, ``7d``), or an ISO time."""
    given = asked_for(exchange, "since")
    if given is None:
        return None
    if span := re.fullmatch(r"(\d{1,4})([mhd])", given):
        # On the minute, so that a page that asks again is shown the same.
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    return exchange.time("since")
