"""Reads what a Chat Completions stream says, from OpenAI and from servers that differ."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evented_agent.chunks import Usage
from evented_agent.models.openai.faults import Faults
from evented_agent.models.openai.kept import ChatKept
from evented_agent.models.openai.values import usage_from
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    FinishReason,
    ItemFound,
    ModelEvent,
    ReasoningPiece,
    SourceFound,
    TextPiece,
)

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_calls": "tool-calls",
    "tool_call": "tool-calls",
    "tool_use": "tool-calls",
    "function_call": "tool-calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content-filter",
    "safety": "content-filter",
    "sensitive": "content-filter",
    "recitation": "content-filter",
}
#: What servers say where they could not finish: half of the answer is lost.
_FAILED = frozenset(
    {
        "error",
        "insufficient_system_resource",
        "malformed_function_call",
        "network_error",
    }
)
_THOUGHTS = ("thinking", "reasoning")


class ChatAnswer:
    """Reads the chunks of one answer; the call *output_tool* is an answer's text, not a call.

    *cached* is the server's own name for tokens that it had cached.
    """

    def __init__(
        self, faults: Faults, origin: str, output_tool: str | None = None, cached: str | None = None
    ) -> None:
        self._cached = cached
        self.is_complete = False
        self.may_go_on = False
        self._goes_on = False
        self._faults = faults
        self._kept = ChatKept(origin)
        self._calls = _Calls(self._kept, output_tool)
        self._reason = ""
        self._usage = Usage()
        self._model: str | None = None
        self._counted = False
        self._sources: set[str] = set()
        self._has_pieces = False
        self._told: list[str] = []

    def read(self, event: Any) -> Iterable[ModelEvent]:
        """Translate one chunk."""
        choices = event.get("choices")
        choice = (choices[0] or {}) if choices else {}
        self._count(event.get("usage") or choice.get("usage") or {})
        self._model = event.get("model") or self._model
        pieces: list[ModelEvent] = list(self._cited(event))
        if not choices:
            if _is_failure(event) and not self.is_complete:
                raise self._faults.reported(event)
            return pieces
        if delta := choice.get("delta"):
            self._read_delta(delta, pieces)
            self._told += [each.text for each in pieces if isinstance(each, TextPiece)]
            self._has_pieces |= any(not isinstance(each, SourceFound) for each in pieces)
        elif whole := choice.get("message"):
            # Some send the whole message where a piece of it is due, or behind all pieces.
            self._read_delta(self._rest_of(whole) if self._has_pieces else whole, pieces)
        # Some give a reason with each piece: then only the stream's end is one.
        says = not all(isinstance(each, SourceFound) for each in pieces)
        self._goes_on |= bool(self._reason) and says
        if reason := choice.get("finish_reason"):
            self._check_names()
            if str(reason).lower() in _FAILED:
                raise self._faults.reported(choice.get("error") or {"type": str(reason)})
            self._reason = str(reason).lower()
            self.may_go_on = says
        self.is_complete = bool(self._reason) and not self._goes_on
        return pieces

    def read_whole(self, said: Any) -> Iterable[ModelEvent]:
        """Translate a completion that came in place of a stream."""
        return self.read(said) if said.get("choices") else ()

    def finished(self, *, said_done: bool) -> bool:
        """Whether the answer is complete, now that the stream has ended.

        Some servers give no finish reason; then they have counted, and said that they are done.
        """
        self._check_names()
        if self._reason:
            return True
        return said_done and self._counted and self._calls.are_whole

    def end(self) -> AnswerEnded:
        """Return the end of the answer as the provider reported it."""
        reason = _REASONS.get(self._reason, "other" if self._reason else "stop")
        if reason == "tool-calls" and not self._calls.count and self._calls.has_output:
            reason = "stop"
        # A forced call and several compatible servers end with "stop" all the same.
        if reason == "stop" and self._calls.count:
            reason = "tool-calls"
        return AnswerEnded(reason, self._usage, self._kept.provider(), self._model)

    def _check_names(self) -> None:
        if self._calls.is_nameless:
            raise self._faults.of(LookupError("a call has no name"))

    def _count(self, usage: Any) -> None:
        if isinstance(usage, Mapping) and usage:
            self._counted = True
            counted = usage_from(usage, self._cached)
            # Some say nought of what they have counted before.
            self._usage = counted if counted.total_tokens else self._usage

    def _read_delta(self, delta: Mapping[str, Any], pieces: list[ModelEvent]) -> None:
        self._kept.take(delta)
        if thought := _thought(delta):
            self._kept.thought(thought)
            pieces.append(ReasoningPiece(thought))
        if content := delta.get("content"):
            pieces.extend(self._content(content))
        if refusal := delta.get("refusal"):
            pieces.append(TextPiece(_checked(refusal)))
        pieces.extend(self._cited(delta))
        for entry in filter(None, delta.get("tool_calls") or ()):
            pieces.extend(self._calls.take(entry))
        if old := delta.get("function_call"):
            pieces.extend(self._calls.take({"index": 0, "function": old}))

    def _rest_of(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        """What a whole message has that none of its pieces said."""
        rest = {name: whole.get(name) for name in ("annotations", "citations", "search_results")}
        text, told = whole.get("content"), "".join(self._told)
        if isinstance(text, str) and text.startswith(told):
            rest["content"] = text[len(told) :]
        if not self._calls.has_any:
            rest |= {name: whole.get(name) for name in ("tool_calls", "function_call")}
        return rest

    def _content(self, content: Any) -> Iterator[ModelEvent]:
        if not isinstance(content, list):
            yield TextPiece(_checked(content))
            return
        self._kept.take_parts(content)
        for part in content:
            if not isinstance(part, Mapping):
                yield TextPiece(_checked(part))
            elif part.get("type") in _THOUGHTS:
                if thought := _plain_text(part):
                    self._kept.thought(thought)
                    yield ReasoningPiece(thought)
            elif part.get("text"):
                yield TextPiece(_checked(part["text"]))
            elif part.get("type") != "text":
                yield ItemFound(str(part.get("type")), dict(part))

    def _cited(self, said: Mapping[str, Any]) -> Iterator[ModelEvent]:
        found = [
            *_list(said.get("annotations")),
            *_list(said.get("search_results")),
            *({"url": each} for each in _list(said.get("citations")) if isinstance(each, str)),
        ]
        for each in found:
            if (source := source_of(each)) and source.url not in self._sources:
                self._sources.add(source.url or "")
                yield source


class _Calls:
    """Tells calls apart, also where a server counts them wrongly or not at all."""

    def __init__(self, kept: ChatKept, output_tool: str | None) -> None:
        self._kept = kept
        self._output_tool = output_tool
        self._ids: list[str] = []
        self._names: list[str] = []
        self._texts: list[str] = []
        # Our numbers of the calls that are ours to make; None for the answer itself.
        self._numbers: list[int | None] = []
        # The server's index of a call and its place here; some use one index for all calls.
        self._latest: dict[object, int] = {}
        # What came of calls before their names.
        self._nameless: dict[object, list[Mapping[str, Any]]] = {}
        self.count = 0

    @property
    def has_any(self) -> bool:
        return bool(self._ids or self._nameless)

    @property
    def is_nameless(self) -> bool:
        """Whether something was said of a call that has no name yet."""
        return bool(self._nameless)

    @property
    def has_output(self) -> bool:
        return None in self._numbers

    @property
    def are_whole(self) -> bool:
        """Whether the arguments of all calls are."""
        return all(not text.strip() or is_whole(text) for text in self._texts)

    def take(self, entry: Mapping[str, Any]) -> Iterator[ModelEvent]:
        """Add what one entry says of a call."""
        id_, name = str(entry.get("id") or ""), (entry.get("function") or {}).get("name") or ""
        index = self._index_of(entry)
        if index not in self._latest and not name:
            # Some say the name last. What never gets one is malformed, unless it says nothing.
            if id_ or _arguments_in(entry):
                self._nameless.setdefault(index, []).append(entry)
            return
        if self._begins(index, id_, name, _arguments_in(entry)):
            early = self._nameless.pop(index, [])
            ids = (str(each["id"]) for each in early if each.get("id"))
            yield from self._begin(index, id_ or next(ids, ""), name)
            for each in early:
                yield from self._add(index, each)
        yield from self._add(index, entry)

    def _index_of(self, entry: Mapping[str, Any]) -> object:
        """The index of a call; that of the last one for more of its arguments, without its own."""
        index = entry.get("index")
        is_more = not entry.get("id") and not (entry.get("function") or {}).get("name")
        if index is not None or index in self._latest or not is_more or not self._latest:
            return index
        return max(self._latest, key=lambda each: self._latest[each])

    def _add(self, index: object, entry: Mapping[str, Any]) -> Iterator[ModelEvent]:
        place, text = self._latest[index], _arguments_in(entry)
        number = self._numbers[place]
        if number is not None:
            self._kept.take_call(number, entry)
        if text:
            self._texts[place] += text
            yield CallPiece(number, text) if number is not None else TextPiece(text, 1)

    def _begin(self, index: object, id_: str, name: str) -> Iterator[ModelEvent]:
        self._latest[index] = len(self._ids)
        self._ids.append(id_)
        self._names.append(name)
        self._texts.append("")
        if name == self._output_tool:
            self._numbers.append(None)
            return
        self._numbers.append(self.count)
        yield CallStarted(self.count, id_, name)
        self.count += 1

    def _begins(self, index: object, id_: str, name: str, text: str) -> bool:
        if not name:
            return False
        known = self._latest.get(index)
        if known is None:
            return True
        if id_ and self._ids[known]:
            return id_ != self._ids[known]
        if name != self._names[known]:
            return True
        before = self._texts[known].strip()
        if index is not None or not before:
            return False
        # The same name again, and no id: a call of its own, if the one before is whole. "{}" may
        # stand for arguments that are still to come.
        return is_whole(before) and (before != "{}" or text.strip() in ("", "{}"))


def _is_failure(event: Mapping[str, Any]) -> bool:
    """Whether an event without choices is an error that is not said to be one, as most are."""
    if "error" in (event.get("object"), event.get("type")):
        return True
    words = (event.get(name) for name in ("message", "detail", "msg"))
    return "choices" not in event and any(isinstance(each, str) and each for each in words)


def _arguments_in(entry: Mapping[str, Any]) -> str:
    arguments = (entry.get("function") or {}).get("arguments")
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def is_whole(text: str) -> bool:
    """Whether *text* is complete as JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def source_of(found: Any) -> SourceFound | None:
    """A citation in one of the forms that servers have; None for something else."""
    if not isinstance(found, Mapping):
        return None
    inner = found.get("url_citation")
    told = inner if isinstance(inner, Mapping) else found
    url, title = told.get("url"), told.get("title") or told.get("filename")
    if not isinstance(url, str) and not isinstance(title, str):
        return None
    return SourceFound(
        url if isinstance(url, str) else None,
        title if isinstance(title, str) else None,
        dict(found),
    )


def _thought(delta: Mapping[str, Any]) -> str:
    """What a piece shows of the reasoning, under whichever name; once, where it has several."""
    for name in ("reasoning_content", "reasoning", "reasoning_text", "thinking"):
        thought = delta.get(name)
        if isinstance(thought, Mapping):
            thought = thought.get("content") or thought.get("text")
        if isinstance(thought, list):
            thought = _plain_text({"text": thought})
        # A flag, or a number of tokens, is no thought.
        if thought and isinstance(thought, str):
            return thought
    return ""


def _plain_text(part: Mapping[str, Any]) -> str:
    for name in ("thinking", "reasoning", "text", "summary"):
        held = part.get(name)
        if isinstance(held, str):
            return held
        if isinstance(held, Sequence):
            return "".join(_plain_text(each) for each in held if isinstance(each, Mapping))
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text is {type(text).__name__}")
    return text
