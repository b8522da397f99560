"""Conversations as models take them: repaired when a request is built, the journal untouched.

Pure.  Calls and results are paired in both directions, empty answers are left out, and where a
model wants it system messages come first and user and assistant take turns.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)

#: What stands where a model wants an answer between a result and what a user says next.
NO_ANSWER = "(No answer.)"
#: What stands between a result and the images in it, which a user shows.
SHOW_ME = "Please show me what it returned."
#: What a user is taken to have said where a model wants to be asked.
GO_ON = "Go on."
UNKNOWN_RESULT = "The result of this call is not known."
_NO_IMAGE = "(an image, which this model cannot see)"


def paired(messages: Sequence[Message]) -> list[Message]:
    """*messages* with each call's result right behind its message, in the order of the calls.

    A call without a result gets one that says so; a result without a call becomes what a user
    said; of two results of a call the first counts.
    """
    answers, orphans = _answers(messages)
    made: list[Message] = []
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if at in orphans:
                made.append(_told(message))
            continue
        made.append(message)
        if isinstance(message, AssistantMessage):
            found = zip(message.tool_calls, answers[at], strict=True)
            made.extend(result or _unknown(call) for call, result in found)
    return made


def _answers(
    messages: Sequence[Message],
) -> tuple[dict[int, list[ToolMessage | None]], set[int]]:
    """The results of each message's calls, and the places of results that answer no call."""
    answers: dict[int, list[ToolMessage | None]] = {}
    called: dict[str, list[tuple[int, int]]] = {}
    orphans = set()
    for at, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            answers[at] = [None] * len(message.tool_calls)
            for place, call in enumerate(message.tool_calls):
                called.setdefault(call.id, []).append((at, place))
        elif isinstance(message, ToolMessage):
            places = called.get(message.tool_call_id, [])
            still_open = [place for place in places if answers[place[0]][place[1]] is None]
            if still_open:
                last = max(place[0] for place in still_open)
                where = next(place for place in still_open if place[0] == last)
                answers[where[0]][where[1]] = message
            elif not places:
                orphans.add(at)
    return answers, orphans


def _unknown(call: ToolCall) -> ToolMessage:
    return ToolMessage(tool_call_id=call.id, name=call.name, result=UNKNOWN_RESULT, is_error=True)


def _told(message: ToolMessage) -> UserMessage:
    what = "failed" if message.is_error else "gave"
    shown = message.result
    text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
    return UserMessage(content=f"(The tool {message.name} {what}: {text})")


def without_empty(
    messages: Iterable[Message], keeps: Callable[[AssistantMessage], bool] = lambda _: False
) -> list[Message]:
    """*messages* without answers that say nothing, unless *keeps* knows something of them."""
    return [
        message
        for message in messages
        if not isinstance(message, AssistantMessage)
        or message.content.strip()
        or message.tool_calls
        or keeps(message)
    ]


def system_first(messages: Sequence[Message]) -> list[Message]:
    """*messages* with system messages at the beginning only; later ones are what a user said."""
    start = next(
        (at for at, each in enumerate(messages) if not isinstance(each, SystemMessage)),
        len(messages),
    )
    later = (
        UserMessage(content=each.content) if isinstance(each, SystemMessage) else each
        for each in messages[start:]
    )
    return [*messages[:start], *later]


def alternated(messages: Iterable[Message]) -> list[Message]:
    """*messages* in which user and assistant take turns, beginning and ending with the user.

    A call and its results are the assistant's.
    """
    made: list[Message] = []
    for message in messages:
        before = made[-1] if made else None
        if isinstance(message, UserMessage) and isinstance(before, UserMessage):
            made[-1] = _joined_users(before, message)
            continue
        if isinstance(message, UserMessage) and isinstance(before, ToolMessage):
            made.append(AssistantMessage(content=NO_ANSWER))
        if isinstance(message, AssistantMessage):
            if isinstance(before, AssistantMessage) and not before.tool_calls:
                made[-1] = _joined_answers(before, message)
                continue
            if before is None or isinstance(before, SystemMessage):
                made.append(UserMessage(content=GO_ON))
        made.append(message)
    if made and isinstance(made[-1], AssistantMessage):
        made.append(UserMessage(content=GO_ON))
    return made


def _joined_users(first: UserMessage, second: UserMessage) -> UserMessage:
    if isinstance(first.content, str) and isinstance(second.content, str):
        return UserMessage(content=f"{first.content}\n\n{second.content}")
    return UserMessage(content=[*_parts(first), *_parts(second)])


def _parts(message: UserMessage) -> list[TextPart | ImagePart]:
    content = message.content
    return [TextPart(text=content)] if isinstance(content, str) else list(content)


def _joined_answers(first: AssistantMessage, second: AssistantMessage) -> AssistantMessage:
    texts = [text for text in (first.content, second.content) if text.strip()]
    return second.model_copy(update={"content": "\n\n".join(texts)})


def without_images(messages: Iterable[Message]) -> Iterator[Message]:
    """*messages* for a model that cannot see: each image is said to be one."""
    for message in messages:
        if isinstance(message, UserMessage) and not isinstance(message.content, str):
            texts = [
                part.text if isinstance(part, TextPart) else _NO_IMAGE for part in message.content
            ]
            yield UserMessage(content="\n".join(texts))
        elif isinstance(message, ToolMessage):
            text, images = result_images(message.result)
            yield message.model_copy(update={"result": text}) if images else message
        else:
            yield message


def images_after_results(messages: Sequence[Message], *, alternates: bool) -> list[Message]:
    """*messages* in which images of results follow these as a user's, where results are text.

    Where roles have to take turns, the assistant asks to see them first.
    """
    asking = [AssistantMessage(content=SHOW_ME)] if alternates else []
    made: list[Message] = []
    waiting: list[TextPart | ImagePart] = []
    for message in messages:
        if waiting and not isinstance(message, ToolMessage):
            made += [*asking, UserMessage(content=waiting)]
            waiting = []
        if not isinstance(message, ToolMessage):
            made.append(message)
            continue
        text, images = result_images(message.result)
        made.append(message.model_copy(update={"result": text}) if images else message)
        if images:
            waiting += [TextPart(text=f"What the tool {message.name} returned:"), *images]
    return [*made, *asking, UserMessage(content=waiting)] if waiting else made


def result_images(result: Any) -> tuple[Any, list[ImagePart]]:
    """What a tool returned with its images replaced by words, and the images."""
    if _is_image(result):
        return "(an image)", [_image(result)]
    if not isinstance(result, list) or not any(map(_is_image, result)):
        return result, []
    images = [_image(each) for each in result if _is_image(each)]
    rest = ["(an image)" if _is_image(each) else _shown(each) for each in result]
    is_text = all(isinstance(each, str) for each in rest)
    return "\n".join(rest) if is_text else rest, images


def _shown(part: Any) -> Any:
    is_text = isinstance(part, dict) and part.get("type") == "text"
    return part.get("text", "") if is_text else part


def _is_image(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("type") == "image"
        and isinstance(value.get("url"), str)
        and value["url"].startswith(("data:image/", "https://", "http://"))
    )


def _image(value: dict[str, Any]) -> ImagePart:
    detail = value.get("detail")
    return ImagePart(url=value["url"], detail=detail if isinstance(detail, str) else None)


class CallIds:
    """Names the calls of one request: unique in it, in a form that the model takes, stable."""

    def __init__(self, form: re.Pattern[str], length: int = 9) -> None:
        """*form* is what an id has to match; others become *length* letters and digits."""
        self._form = form
        self._length = length
        self._used: set[str] = set()

    def name(self, wanted: str, *, is_own: bool = False) -> str:
        """The id for a call that is called *wanted*; one that *is_own* to the model stays so."""
        made, tries = wanted, 0
        fits = bool(made) if is_own else self._fits(made)
        while made in self._used or not fits:
            tries += 1
            made = _short(f"{wanted}\n{tries}", self._length)
            fits = True
        self._used.add(made)
        return made

    def _fits(self, id_: str) -> bool:
        return self._form.fullmatch(id_) is not None


_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _short(text: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    made = ""
    while len(made) < length:
        number, rest = divmod(number, len(_LETTERS))
        made += _LETTERS[rest]
    return made
