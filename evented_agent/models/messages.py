"""The conversation: what people, models and tools said.  Imports neither providers nor storage."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pydantic_core
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from evented_agent.chunks.json_values import NotJson, as_json
from evented_agent.errors import DeclarationError
from evented_agent.models.shapes import plain_messages


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _with_kind(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What tells the classes apart is stored also where it is a default, which others leave out.
        kind = {name: getattr(self, name) for name in ("role", "type") if hasattr(self, name)}
        return {**kind, **dump(self)}


def _part_kind(part: Any) -> str:
    """Which class a part of a content has; older versions stored some without their type."""
    given = part if isinstance(part, dict) else {"type": getattr(part, "type", "")}
    return str(given.get("type") or ("image" if "url" in given else "text"))


class TextPart(_Part):
    """A piece of text in a user's message.

    Attributes:
        type: "text".
        text: The piece.
    """

    type: Literal["text"] = "text"
    text: str


class ImagePart(_Part):
    """An image in a user's message.

    Attributes:
        type: "image".
        url: Where it is, ``https:``, or the image itself, ``data:``.
        detail: How closely to look, in the provider's words: "low", "high", "auto".
    """

    type: Literal["image"] = "image"
    url: str
    detail: str | None = None


#: A piece of a user's message; its ``type`` tells its class.
ContentPart = Annotated[
    Annotated[TextPart, Tag("text")] | Annotated[ImagePart, Tag("image")],
    Discriminator(_part_kind),
]


class SystemMessage(_Part):
    """An instruction inside the conversation; the agent's own instructions come before it.

    Attributes:
        role: "system".
        content: The instruction.
    """

    role: Literal["system"] = "system"
    content: str


class UserMessage(_Part):
    """What the person said.

    Attributes:
        role: "user".
        content: Text, or pieces of text and images in their order.
    """

    role: Literal["user"] = "user"
    content: str | list[ContentPart]


class ToolCall(_Part):
    """A model's wish to call a tool.

    Attributes:
        id: Names the call within its run.
        name: The tool.
        arguments: The JSON object that the model wrote; empty where that was not valid.
        invalid: What the model wrote instead of a JSON object, so that it can be told.
        background: How the model wishes that the call is run: ``{"disposition": …}``.
    """

    id: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    invalid: str | None = None
    background: dict[str, Any] | None = None


class AssistantMessage(_Part):
    """One answer of a model.

    Attributes:
        role: "assistant".
        content: What it said.
        reasoning: Its reasoning, where the provider shows it.
        tool_calls: The tools that it wants called, in its order.
        provider: What the provider wants back on the next call (encrypted reasoning items, for
            example), as JSON under the provider's name.
    """

    role: Literal["assistant"] = "assistant"
    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = Field(default_factory=list)
    provider: dict[str, Any] = Field(default_factory=dict)


class ToolMessage(_Part):
    """What a tool call came to.

    Attributes:
        role: "tool".
        tool_call_id: The call that it answers.
        name: The tool that was called.
        result: What the tool returned, as JSON; where *is_error*, ``"<exception>: <its text>"``.
        is_error: Whether the call failed, was declined or was cancelled.
    """

    role: Literal["tool"] = "tool"
    tool_call_id: str
    name: str
    result: Any = None
    is_error: bool = False


#: One message of a conversation; its ``role`` tells its class.
Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]

_MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(list[Message])
#: Levels of a stored conversation around a value in it: the list, a message, a call.
_AROUND = 4
#: Most characters of a text that only shows what a conversation or a run is about.
MOST_SHORT = 200

#: What a run begins with: the person's text, or messages, each perhaps as a dict.
Input = str | Sequence[Message | dict[str, Any]]


def parse_messages(given: Input) -> list[Message]:
    """Turn what a caller passed to `stream` into messages.

    A string is one user message; a list holds messages or their dicts, also in the shape of
    OpenAI's Chat Completions.  Raises `DeclarationError` that names the first wrong place.
    """
    if isinstance(given, str):
        given = [UserMessage(content=given)]
    try:
        messages = checked_messages(_MESSAGES.validate_python(plain_messages(given)))
    except NotJson as error:
        raise DeclarationError(f"The messages are not valid: {error}.") from None
    except (ValidationError, TypeError) as error:
        raise DeclarationError(f"The messages are not valid: {_first_problem(error)}") from None
    if not messages:
        raise DeclarationError("The list of messages is empty. Pass at least one user message.")
    if isinstance(messages[-1], UserMessage) and _is_blank(messages[-1]):
        raise DeclarationError(
            "The messages are not valid: the last, a user's, is empty. Pass what the person said."
        )
    return messages


def _is_blank(message: UserMessage) -> bool:
    if isinstance(message.content, str):
        return not message.content.strip()
    return not any(isinstance(part, ImagePart) or part.text.strip() for part in message.content)


def checked_messages(messages: Sequence[Message]) -> list[Message]:
    """*messages* with all values in them as they will be read back; raises `NotJson`."""
    dumped = [message.model_dump(exclude_defaults=True) for message in messages]
    return _MESSAGES.validate_python(as_json(dumped, wrapped=_AROUND))


def dump_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the JSON form of *messages*, without fields that hold their default."""
    return [message.model_dump(mode="json", exclude_defaults=True) for message in messages]


def load_messages(stored: Sequence[dict[str, Any]]) -> list[Message]:
    """Read messages back from their JSON form."""
    return _MESSAGES.validate_python(list(stored))


def without_prefix(message: Message, prefix: str) -> Message:
    """*message* with the ids of its calls as they are without *prefix*."""
    if isinstance(message, ToolMessage):
        return message.model_copy(
            update={"tool_call_id": message.tool_call_id.removeprefix(prefix)}
        )
    if isinstance(message, AssistantMessage) and message.tool_calls:
        calls = [
            call.model_copy(update={"id": call.id.removeprefix(prefix)})
            for call in message.tool_calls
        ]
        return message.model_copy(update={"tool_calls": calls})
    return message


def _first_problem(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return f"{error}. Pass a string or a list of messages such as {{'role': 'user', …}}."
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"at {where or 'the top'}: {problem['msg']}."


def dump_thread_entry(run_id: str, messages: Sequence[Message]) -> str:
    """What a run added to a conversation, as it is stored: its id, messages, and last words."""
    dumped = dump_messages(messages)
    texts = (text_in(each) for each in reversed(dumped) if each["role"] != "system")
    words = filter(None, texts)
    said = pydantic_core.to_json(next(words, "")[:MOST_SHORT]).decode()
    # Without a quote in it, so that a script finds it at the entry's end.
    said = '"{}"'.format(said[1:-1].replace('\\"', "\\u0022"))
    return f"{pydantic_core.to_json([run_id, dumped]).decode()[:-1]},{said}]"


def text_in(dumped: Mapping[str, Any]) -> str:
    """The text of a message in its JSON form, without its images."""
    content = dumped.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        content = " ".join(filter(None, texts))
    return content if isinstance(content, str) else ""


def load_thread(entries: Sequence[bytes]) -> list[Message]:
    """The messages of a stored conversation, oldest first."""
    return [
        message for entry in entries for message in load_messages(pydantic_core.from_json(entry)[1])
    ]
