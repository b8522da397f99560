"""The items of a Responses answer that its server wants back, kept with their origin.

They stand in the ``provider`` of an `AssistantMessage`, under "openai": the *origin*, and the
*items* in their order. Reasoning and what the library does not know stand there as they came;
texts and calls are markers, whose words are those of the message.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evented_agent.models.messages import AssistantMessage
from evented_agent.models.openai.values import PLAIN_ID, well_formed

_KEY = "openai"
_REASONING_FIELDS = ("type", "id", "summary", "content", "encrypted_content")
_OF_CALL = frozenset({"type", "id", "call_id", "name", "arguments", "status", "output"})


class KeptItems:
    """Collects what the items of one answer leave to be returned."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._items: list[dict[str, Any]] = []

    def take(self, item: Mapping[str, Any]) -> None:
        """Note a finished item."""
        match item["type"]:
            case "reasoning":
                # A summary alone is nothing that a server knows again.
                if item.get("encrypted_content") or item.get("content"):
                    fields = {name: item[name] for name in _REASONING_FIELDS if name in item}
                    self._items.append({"summary": [], **fields})
            case "function_call":
                self._items.append({"type": "function_call", **_more(item)})
            case "message":
                if kept := _message(item):
                    self._items.append(kept)
            case _:
                self._items.append(dict(item))

    def provider(self) -> dict[str, Any]:
        """What the answer's end hands back; empty where only texts and calls were said."""
        items = list(self._items)
        messages = [item for item in items if item["type"] == "message"]
        if not any(item.keys() & {"phase", "annotations"} for item in messages):
            # A message of the conversation holds all text of an answer, so one marker stands.
            last = messages[-1] if messages else None
            items = [item for item in items if item["type"] != "message" or item is last]
            items = [_without_text(item) for item in items]
        elif len(messages) == 1 and "annotations" not in messages[0]:
            items = [_without_text(item) for item in items]
        # The API refuses a reasoning item that nothing follows.
        while items and items[-1]["type"] == "reasoning":
            items.pop()
        if all(item.keys() == {"type"} for item in items):
            return {}
        return {_KEY: {"origin": self._origin, "items": well_formed(items)}}


def _more(item: Mapping[str, Any]) -> dict[str, Any]:
    more = {name: each for name, each in item.items() if name not in _OF_CALL and each is not None}
    id_ = item.get("call_id")
    is_odd = isinstance(id_, str) and id_ and not PLAIN_ID.fullmatch(id_)
    return {**more, "call_id": id_} if is_odd else more


def _message(item: Mapping[str, Any]) -> dict[str, Any] | None:
    parts = [part for part in item.get("content") or () if isinstance(part, Mapping)]
    text = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
    if not text:
        return None
    kept = {"type": "message", "text": text}
    if item.get("phase"):
        kept["phase"] = item["phase"]
    annotations = [each for part in parts for each in part.get("annotations") or ()]
    return {**kept, "annotations": annotations} if annotations else kept


def _without_text(item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] != "message":
        return item
    return {name: value for name, value in item.items() if name != "text"}


def items_for(message: AssistantMessage, origin: str) -> Sequence[dict[str, Any]]:
    """The items that *message* holds for that *origin*; none for an answer of another."""
    kept = message.provider.get(_KEY)
    if not isinstance(kept, Mapping) or kept.get("origin") != origin:
        return ()
    items: list[dict[str, Any]] = kept["items"]
    return items


def restored_items(
    message: AssistantMessage, items: Sequence[dict[str, Any]], calls: Sequence[dict[str, Any]]
) -> list[dict[str, Any]] | None:
    """*items* with the words of *message* and its *calls* in their places.

    None where they no longer fit the message: the API wants each reasoning item before the item
    that it led to.
    """
    texts = _texts(message, [item for item in items if item["type"] == "message"])
    if texts is None or sum(item["type"] == "function_call" for item in items) != len(calls):
        return None
    said, called = iter(texts), iter(calls)
    made = []
    for item in items:
        if item["type"] == "message":
            made.append(next(said))
        elif item["type"] == "function_call":
            more = {name: value for name, value in item.items() if name not in ("type", "call_id")}
            made.append({**next(called), **more})
        else:
            made.append(item)
    return made


def _texts(
    message: AssistantMessage, kept: Sequence[dict[str, Any]]
) -> list[dict[str, Any]] | None:
    if len(kept) == 1 and "text" not in kept[0]:
        return [_written(kept[0], message.content)] if message.content else None
    said = "".join(item.get("text", "") for item in kept)
    is_same = "".join(said.split()) == "".join(message.content.split())
    return [_written(item, item.get("text", "")) for item in kept] if is_same else None


def _written(item: Mapping[str, Any], text: str) -> dict[str, Any]:
    written: dict[str, Any] = {"role": "assistant", "content": text}
    if "annotations" in item:
        part = {"type": "output_text", "text": text, "annotations": item["annotations"]}
        written = {"type": "message", "role": "assistant", "content": [part]}
    return {**written, "phase": item["phase"]} if "phase" in item else written
