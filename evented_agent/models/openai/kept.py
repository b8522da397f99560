"""What a server said beside its words, kept with its origin, and returned to that origin alone.

It stands in the ``provider`` of an `AssistantMessage`, under "openai-chat": the *origin*, the
*fields* of the message, of its *calls*, its *content* where that was a list, and the names of the
fields that hold the *reasoning* of the message, which is not stored twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evented_agent.models.messages import AssistantMessage
from evented_agent.models.openai.values import PLAIN_ID, well_formed

_KEY = "openai-chat"
_ORDINARY = frozenset(
    {"role", "content", "tool_calls", "function_call", "refusal", "name", "index", "id", "audio"}
    | {"annotations", "citations", "search_results", "images", "function"}
    | {"finish_reason", "native_finish_reason", "stop_reason"}
)
_SAID = ("reason", "think", "thought", "signature", "extra_content")


class ChatKept:
    """Collects, from the pieces of one answer, what its server wants back."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._fields: dict[str, Any] = {}
        self._details: list[dict[str, Any]] = []
        self._parts: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._thoughts: list[str] = []

    def thought(self, text: str) -> None:
        """Note what was shown of the reasoning."""
        self._thoughts.append(text)

    def take(self, delta: Mapping[str, Any]) -> None:
        """Note the fields of one piece of a message."""
        for name, value in delta.items():
            if name in _ORDINARY or not value or not isinstance(value, str | list | dict):
                continue
            if name == "reasoning_details" and isinstance(value, list):
                self._add_details(value)
            elif any(word in name for word in _SAID):
                self._fields[name] = _joined(self._fields.get(name), value)

    def take_parts(self, content: Sequence[Any]) -> None:
        """Note one piece of a content that is a list of parts."""
        for part in content:
            made = dict(part) if isinstance(part, Mapping) else {"type": "text", "text": part}
            last = self._parts[-1] if self._parts else {}
            is_more = last.get("type") == made.get("type") in ("text", "thinking", "reasoning")
            if is_more:
                self._parts[-1] = {
                    **{name: _joined(last.get(name), value) for name, value in made.items()},
                    "type": made["type"],
                }
            else:
                self._parts.append(made)

    def take_call(self, number: int, entry: Mapping[str, Any]) -> None:
        """Note what one entry says of a call, beside its name and arguments."""
        while len(self._calls) <= number:
            self._calls.append({})
        kept = self._calls[number]
        id_ = entry.get("id")
        if isinstance(id_, str) and id_ and not PLAIN_ID.fullmatch(id_):
            kept["id"] = id_
        more = {
            name: value
            for name, value in entry.items()
            if name not in _ORDINARY and name != "type" and value is not None
        }
        function = entry.get("function") or {}
        inner = {
            name: value
            for name, value in function.items()
            if name not in ("name", "arguments") and value is not None
        }
        if inner:
            more["function"] = {**kept.get("function", {}), **inner}
        kept.update(more)

    def provider(self) -> dict[str, Any]:
        """What the answer's end hands back; empty where the server said nothing of that kind."""
        thoughts = "".join(self._thoughts)
        shown = [name for name, value in self._fields.items() if value == thoughts]
        fields = {name: value for name, value in self._fields.items() if name not in shown}
        if self._details:
            fields["reasoning_details"] = self._details
        has_thoughts = any(part.get("type") != "text" for part in self._parts)
        kept = {
            "reasoning": shown,
            "fields": fields,
            "content": self._parts if has_thoughts else [],
            "calls": self._calls if any(self._calls) else [],
        }
        kept = {name: well_formed(value) for name, value in kept.items() if value}
        return {_KEY: {"origin": self._origin, **kept}} if kept else {}

    def _add_details(self, details: Sequence[Any]) -> None:
        """Put pieces of one detail together; those of one list are different details."""
        before = len(self._details)
        for each in details:
            if not isinstance(each, Mapping):
                continue
            place = _place_of(each, self._details[:before])
            if place is None:
                self._details.append(dict(each))
                continue
            known = self._details[place]
            more = {name: value for name, value in each.items() if value is not None}
            text = {
                name: _joined(known.get(name), more[name])
                for name in ("text", "summary", "data")
                if name in more
            }
            self._details[place] = {**known, **more, **text}


def _place_of(detail: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> int | None:
    """Which of *known* a piece goes on with: that of its index and type, or the last of its type.

    A signature belongs to the text before it, whatever its type.
    """
    index, kind = detail.get("index"), detail.get("type")
    for place in range(len(known) - 1, -1, -1):
        if known[place].get("index") == index and known[place].get("type") == kind:
            is_last = place == len(known) - 1
            # Without an index, only what was said last can go on.
            return place if index is not None or (is_last and "data" not in detail) else None
    return None


def _joined(before: Any, more: Any) -> Any:
    """Two pieces of a field: texts and lists go on, objects are merged, others are replaced."""
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    if isinstance(before, list) and isinstance(more, list):
        return _joined_lists(before, more)
    if isinstance(before, dict) and isinstance(more, dict):
        return {
            **before,
            **{name: _joined(before.get(name), value) for name, value in more.items()},
        }
    return more


def _joined_lists(before: list[Any], more: list[Any]) -> list[Any]:
    """Lists of pieces, as content has them: text goes on where its kind is the same."""
    made = list(before)
    for each in more:
        last = made[-1] if made else None
        is_more = (
            isinstance(last, dict)
            and isinstance(each, Mapping)
            and each.get("type") == last.get("type") == "text"
        )
        if is_more and last is not None:
            made[-1] = {**last, "text": _joined(last.get("text"), each.get("text"))}
        else:
            made.append(each)
    return made


def kept_for(message: AssistantMessage, origin: str) -> Mapping[str, Any]:
    """What *message* holds for that *origin*; empty for an answer of another."""
    kept = message.provider.get(_KEY)
    is_own = isinstance(kept, Mapping) and kept.get("origin") == origin
    return kept if is_own and kept is not None else {}


def is_foreign(message: AssistantMessage, origin: str) -> bool:
    """Whether another origin is known to have given that answer, or none at all is."""
    kept = message.provider.get(_KEY)
    return not (isinstance(kept, Mapping) and kept.get("origin") == origin)


def returned_fields(message: AssistantMessage, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a message as its server said them."""
    shown = {name: message.reasoning for name in kept.get("reasoning", ()) if message.reasoning}
    return {**shown, **kept.get("fields", {})}


def returned_content(message: AssistantMessage, kept: Mapping[str, Any]) -> list[Any] | None:
    """The content as the parts that it was; None where it was none, or says something else now."""
    parts = kept.get("content")
    if not parts:
        return None
    said = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    is_same = "".join(said.split()) == "".join(message.content.split())
    return list(parts) if is_same else None


def returned_calls(message: AssistantMessage, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What its server said of each call beside name and arguments; empty objects for nothing."""
    calls = kept.get("calls") or []
    # A call may have been dropped since, and then nobody knows which is which.
    if len(calls) > len(message.tool_calls):
        return [{} for _ in message.tool_calls]
    return [*map(dict, calls), *({} for _ in message.tool_calls[len(calls) :])]
