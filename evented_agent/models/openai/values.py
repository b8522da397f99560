"""How values are written for both OpenAI APIs, and what both count.  Does no I/O."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from evented_agent.chunks import Usage
from evented_agent.chunks.base import token_count
from evented_agent.chunks.json_values import without_surrogates
from evented_agent.models.history import CallIds
from evented_agent.models.messages import AssistantMessage, ToolCall, ToolMessage
from evented_agent.models.openai.profiles import Profile
from evented_agent.models.protocol import ToolChoice

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: Settings that are about the HTTP request, as the SDK's own methods take them.
TRANSPORT: Final = ("extra_headers", "extra_query", "extra_body", "timeout")
_FORMS: Mapping[str, re.Pattern[str]] = {
    "any": re.compile(r"[A-Za-z0-9_.:-]{1,64}"),
    "own": re.compile(r"[A-Za-z0-9]{9}"),
    "nine": re.compile(r"[A-Za-z0-9]{9}"),
}
#: Ids of calls that the engine takes over as they are; others are kept beside the answer.
PLAIN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def arguments_text(call: ToolCall) -> str:
    """Return a call's arguments as the text of a JSON object.

    What the model wrote is wrapped where it was invalid, since many servers parse this field.
    """
    return _write(call.arguments if call.invalid is None else {"invalid_json": call.invalid})


def output_text(message: ToolMessage) -> str:
    """Return a tool's result as a model reads it: text as it is, anything else as JSON."""
    if message.is_error:
        return _write({"error": message.result})
    return message.result if isinstance(message.result, str) else _write(message.result)


def with_settings(body: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return *body* with *settings* on top; a setting of None removes that key."""
    return {name: value for name, value in {**body, **settings}.items() if value is not None}


def plain_settings(settings: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """*settings* that go into a body: without those of the request, and those that are refused."""
    aside = {*TRANSPORT, "tools", *profile.refuses}
    return {name: value for name, value in settings.items() if name not in aside}


def hosted_tools(settings: Mapping[str, Any]) -> list[Any]:
    """The tools that the provider itself runs, as the settings declare them."""
    given = settings.get("tools")
    return list(given) if isinstance(given, list | tuple) else []


def tool_choice_word(choice: ToolChoice, profile: Profile) -> str | None:
    """Return the choice's kind, or the next weaker that the model takes; None for no word."""
    weaker = {"tool": "required", "required": "auto", "none": "auto"}
    word: str | None = choice if isinstance(choice, str) else "tool"
    while word is not None and word not in profile.tool_choices:
        word = weaker.get(word)
    return word


class RequestIds:
    """The ids of one request's calls, and of their results, which follow them."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._ids = CallIds(_FORMS[form])
        self._waiting: Iterator[str] = iter(())

    def of_calls(
        self, message: AssistantMessage, own: Sequence[str | None] | None = None
    ) -> list[str]:
        """Ids for a message's calls; *own* are the provider's, where the message is its own."""
        is_own = own is not None and self._form != "nine"
        wanted = [
            kept or call.id
            for call, kept in zip(message.tool_calls, own or [None] * len(message.tool_calls))  # noqa: B905
        ]
        ids = [self._ids.name(each, is_own=is_own) for each in wanted]
        self._waiting = iter(ids)
        return ids

    def of_result(self, message: ToolMessage) -> str:
        """The id of the call that *message* answers: results stand in the order of the calls."""
        return next(self._waiting, message.tool_call_id)


def well_formed(value: Any) -> Any:
    """*value* with the halves of characters put together that came in two pieces."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [well_formed(each) for each in value]
    if isinstance(value, dict):
        return {well_formed(name): well_formed(each) for name, each in value.items()}
    return value


def usage_from(usage: Mapping[str, Any], cached: str | None = None) -> Usage:
    """Read a provider's count of tokens, under the names that servers have for them.

    *cached* is one more for those that it had cached.
    """
    taken = _first(usage, "prompt_tokens", "input_tokens")
    given = _first(usage, "completion_tokens", "output_tokens")
    of_input = _mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    of_output = _mapping(
        usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    )
    return Usage(
        input_tokens=taken,
        output_tokens=given,
        total_tokens=token_count(usage.get("total_tokens")) or taken + given,
        reasoning_tokens=_first(of_output, "reasoning_tokens") or _first(usage, "reasoning_tokens"),
        cached_input_tokens=_first(of_input, "cached_tokens", "cache_read_tokens")
        or _first(usage, "prompt_cache_hit_tokens", "cache_read_input_tokens", cached or ""),
        cache_write_tokens=_first(of_input, "cache_write_tokens", "cache_creation_tokens")
        or _first(usage, "cache_creation_input_tokens", "cache_write_tokens"),
        input_audio_tokens=_first(of_input, "audio_tokens"),
        output_audio_tokens=_first(of_output, "audio_tokens"),
    )


def _first(counts: Mapping[str, Any], *names: str) -> int:
    return next((found for name in names if (found := token_count(counts.get(name)))), 0)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
