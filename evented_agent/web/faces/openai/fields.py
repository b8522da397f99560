"""The fields of OpenAI's requests: what changes an agent, and what changes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pydantic_core

from evented_agent.errors import LedgerUnavailable
from evented_agent.web.exchange import Exchange, bad_request
from evented_agent.web.faces.openai.errors import NO_RETRY, wrong_field
from evented_agent.web.failures import failure_of
from evented_agent.web.principal import Principal
from evented_agent.web.site import Site

Fields = dict[str, Any]

#: Which of our options a field is, in both protocols; ours may be sent under their own names.
OPTIONS: Mapping[str, str] = {
    "tool_choice": "tool_choice",
    "temperature": "model_settings",
    "top_p": "model_settings",
    **{name: name for name in ("context", "deadline", "max_steps", "until_idle")},
    **{name: name for name in ("when_busy", "when_waiting")},
}
#: Fields that say something of the caller, or ask for more to be shown: they change nothing.
HARMLESS = frozenset(
    {
        "include",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)
#: What clients send as a default, by field: other values are refused.
DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "functions": ([],),
    "function_call": ("auto", "none"),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (True,),
    "text": ({}, {"format": {"type": "text"}}),
    "tools": ([],),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
_MOST_METADATA, _MOST_KEY, _MOST_VALUE = 16, 64, 512


def fields_of(exchange: Exchange) -> Fields:
    """The body of a request, without fields that are null: as if they were not there."""
    try:
        found = pydantic_core.from_json(exchange.body or b"{}", allow_inf_nan=False)
    except ValueError as error:
        raise bad_request(f"The body is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise bad_request("The body is no JSON object.")
    return {name: value for name, value in found.items() if value is not None}


def agent_of(site: Site, fields: Fields) -> str:
    """The agent that is meant: the *model* of a request."""
    agent = fields.pop("model", site.agent)
    if not isinstance(agent, str):
        raise wrong_field("model", "say which agent: its id, as a text.")
    return agent


@contextmanager
def once(key: str | None) -> Iterator[None]:
    """A start whose outcome is unknown is repeated only under a name."""
    try:
        yield
    except LedgerUnavailable as error:
        failure = failure_of(error)
        if key is None:
            failure.headers = {**failure.headers, **NO_RETRY}
        raise failure from error


def roles_of(site: Site, who: Principal, given: object, where: str) -> Sequence[str]:
    """Whose words may be sent; refuses instructions, unless clients may choose them."""
    if who.all_resources or "instructions" in site.options:
        return ("user", "assistant", "system")
    for at, message in enumerate(given if isinstance(given, list) else []):
        if message["role"] == "system":
            raise wrong_field(
                f"{where}[{at}].role",
                "the agent has its instructions; create_app(client_options=['instructions']) on "
                "the server lets clients add theirs.",
                "unsupported_parameter",
            )
    return ("user", "assistant")


class FieldReader:
    """Takes the fields of a request one by one; what is left changes an agent, and is refused."""

    def __init__(self, site: Site, who: Principal, fields: Fields) -> None:
        self._site = site
        self._who = who
        self._left = dict(fields)

    def take(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        """A field that there may be, of one of these types."""
        value = self._left.pop(name, None)
        if value is not None and (
            not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        ):
            raise wrong_field(name, f"pass {what}.")
        return value

    def flag(self, name: str) -> bool:
        return bool(self.take(name, bool, "true or false"))

    def options(self, names: Mapping[str, str]) -> Fields:
        """What is chosen of `StreamOptions`: *names* has the name of our option by field.

        Raises `HttpFailure` for what they may not choose, and for fields that nothing is made of.
        """
        options: Fields = {}
        for name in [each for each in names if each in self._left]:
            value = self._left.pop(name)
            if name == "tool_choice" and (value := _tool_choice(value)) == "auto":
                continue
            self._check_allowed(name, names[name])
            if names[name] == "model_settings":
                options.setdefault("model_settings", {})[name] = value
            else:
                options[names[name]] = value
        self._check_rest()
        return options

    def metadata(self) -> dict[str, str]:
        """Up to 16 pairs of texts, as OpenAI has them."""
        found = self.take("metadata", dict, "an object of texts") or {}
        if len(found) > _MOST_METADATA:
            raise wrong_field("metadata", f"{_MOST_METADATA} pairs at most.")
        for name, value in found.items():
            if not isinstance(value, str) or len(name) > _MOST_KEY or len(value) > _MOST_VALUE:
                most = f"{_MOST_KEY} and {_MOST_VALUE} characters"
                raise wrong_field("metadata", f"names and values are texts of at most {most}.")
        return found

    def _check_allowed(self, name: str, option: str) -> None:
        if not self._who.all_resources and option not in self._site.options:
            raise wrong_field(
                name,
                f"the agent decides that; create_app(client_options=[{option!r}]) on the server "
                "lets clients choose it.",
                "unsupported_parameter",
            )

    def _check_rest(self) -> None:
        for name, value in self._left.items():
            if name in HARMLESS or value in DEFAULTS.get(name, ()):
                continue
            known = DEFAULTS.get(name)
            hint = "leave it out" if known is None else f"leave it out, or pass {known[0]!r}"
            raise wrong_field(
                name,
                f"it would change the agent, which is as it is: {hint}.",
                "unsupported_parameter",
            )


def _tool_choice(given: Any) -> Any:
    """OpenAI's choice of a tool as ours."""
    if isinstance(given, str):
        return given
    function = given.get("function", given) if isinstance(given, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"tool": function["name"]}
    raise wrong_field("tool_choice", "pass 'auto', 'none', 'required', or a function's name.")
