"""What all chunks share: their fields, the wire form, and the base of their payloads."""

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)
from pydantic.alias_generators import to_camel

dump_json: Callable[[Any], str] = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


#: Ends of lines for some clients, which JSON allows inside text; the others are always escaped.
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}


def one_line_json(value: Any) -> str:
    """JSON that no client splits in two, however it recognizes lines."""
    text = dump_json(value)
    # Outside of text JSON is ASCII.
    return text if text.isascii() else text.translate(_LINE_ENDS)


def payload_json(payload: Any) -> Any:
    """Return the JSON form of *payload*: camelCase keys, nothing for None."""
    if isinstance(payload, BaseModel):
        return payload.model_dump(mode="json", by_alias=True, exclude_none=True)
    return payload


class Chunk(BaseModel):
    """One event of a run's stream: a piece of text, a tool's result, the end.

    The classes derived from it, all of them in `evented_agent.chunks`, have the type and the
    payload of one kind of event; `AnyChunk` is their union, in which *type* tells them apart.

    Attributes:
        type: What happened: "text-delta", "tool-result", "finish", …
        seq: Numbers the chunks of a run 1, 2, 3 … without gaps.
        cursor: The point to read on from, ``observe(after=chunk.cursor)``; safe also after Redis
            lost its last second.
        run_id: The run.
        task: What wrote it: ``<step>:model``, ``<step>:tool:<call id>`` …; a `step-reset` withdraws
            by it. None for what belongs to no task.
        payload: What there is to say about it; its class is that of the type.
        ends_topic: Whether chunks of this class end a run's stream.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    #: Nothing follows a chunk of this type.
    ends_topic: ClassVar[bool] = False
    #: A person is asked; the run may wait from here on.
    asks_person: ClassVar[bool] = False
    #: Nothing may follow while the run waits for a person.
    may_be_last: ClassVar[bool] = False
    #: The type of the chunk that began what a chunk of this type ends.
    closes: ClassVar[Optional["type[Chunk]"]] = None

    type: str
    seq: int
    cursor: str
    run_id: str
    task: str | None = None
    payload: Any

    def wire(self) -> dict[str, Any]:
        """Return the JSON object that web clients read."""
        wire: dict[str, Any] = {
            "seq": self.seq,
            "type": self.type,
            "runId": self.run_id,
            "from": "AGENT",
        }
        if self.task is not None:
            wire["task"] = self.task
        wire["payload"] = payload_json(self.payload)
        return wire

    def json_line(self) -> str:
        """Return the wire form as JSON: one line, wherever a client ends its lines."""
        return one_line_json(self.wire())

    def sse(self) -> str:
        r"""Return the chunk as one Server-Sent Event, ``id``, ``event`` and ``data`` lines.

        LF only and one data line, which every known client parses; what else some of them take for
        the end of a line is escaped.  The id is the cursor, so a browser's ``Last-Event-ID`` can be
        passed to `observe` as it is.
        """
        event = one_line_json(self.type)[1:-1]
        return f"id: {self.cursor}\nevent: {event}\ndata: {self.json_line()}\n\n"


class Other(Chunk):
    """A chunk of a type this version does not know (``data-*``, or written by a newer one).

    Attributes:
        type: Any other type. Type checkers see "other", so that a comparison with one of the known
            types tells the known classes apart; compare ``str(chunk.type)``.
        payload: JSON, as it was written.
    """

    if TYPE_CHECKING:
        type: Literal["other"]
    payload: dict[str, Any]


class Payload(BaseModel):
    """Base of payloads: snake_case attributes here, camelCase keys on the wire."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True
    )

    #: Whether fields that were not given are stored as well.
    stores_defaults: ClassVar[bool] = False
    #: Fields that came later: a form without them stays what it was.
    stored_if_set: ClassVar[frozenset[str]] = frozenset()


@cache
def stored_names(payload: type[Payload]) -> dict[str, str]:
    """The fields of a payload class, each with its name in the stored form."""
    fields = payload.model_fields.items()
    return {name: field.serialization_alias or name for name, field in fields}


def stored_payload(payload: Payload) -> dict[str, Any]:
    """Return what is stored of *payload*: the fields that were given, also those that are None.

    Values are passed on as they are, so this costs next to nothing and has no limit of depth.
    """
    given = payload.model_fields_set
    stored = {
        stored_name: _stored_value(getattr(payload, name))
        for name, stored_name in stored_names(type(payload)).items()
        if (getattr(payload, name) if name in payload.stored_if_set else name in given)
        or (payload.stores_defaults and name not in payload.stored_if_set)
    }
    return {**stored, **(payload.model_extra or {})}


def _stored_value(value: Any) -> Any:
    return stored_payload(value) if isinstance(value, Payload) else value


#: As many tokens as all that counts them can hold exactly: Lua, JSON and JavaScript.
MOST_TOKENS = 2**53


def token_count(value: object) -> int:
    """*value* as a number of tokens, 0 … `MOST_TOKENS`, whatever a provider says; else 0."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, MOST_TOKENS))


class Usage(Payload):
    """Tokens, as the provider counted them; they add up over the steps of a run.

    Attributes:
        input_tokens: Tokens that the model was given.
        output_tokens: Tokens that it answered with, its reasoning included.
        total_tokens: Both together.
        reasoning_tokens: Those of the output that were reasoning.
        cached_input_tokens: Those of the input that the provider had cached.
        cache_write_tokens: Those of the input that it wrote into its cache, where that is counted.
        input_audio_tokens: Those of the input that were sound.
        output_audio_tokens: Those of the output that were sound.
    """

    stores_defaults: ClassVar[bool] = True
    stored_if_set: ClassVar[frozenset[str]] = frozenset(
        {"cache_write_tokens", "input_audio_tokens", "output_audio_tokens"}
    )

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    reasoning_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0

    @field_validator("*", mode="before")
    @classmethod
    def _counted(cls, value: object) -> int:
        # Also in old records, which may hold what a provider said.
        return token_count(value)

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Counts that came later are left out where there is nothing to count."""
        found: dict[str, Any] = dump(self)
        later = {n for name in self.stored_if_set for n in (name, stored_names(Usage)[name])}
        return {name: count for name, count in found.items() if count or name not in later}

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            **{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields}
        )


class ErrorInfo(Payload):
    """An error as data: the exception's class name and its text.

    Attributes:
        name: The exception's class name, such as "ToolTimeout".
        message: Its text.
    """

    name: str
    message: str
