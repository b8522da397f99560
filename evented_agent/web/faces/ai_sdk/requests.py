"""What a POST of the AI SDK asks for, checked where it enters: a run, or answers to questions."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.chunks.base import dump_json
from evented_agent.web.exchange import Exchange, bad_request
from evented_agent.web.routes.start import CLIENT_OPTIONS, SERVICE_OPTIONS

_OWN = ("id", "messages", "trigger", "messageId", "interrupt")
_TRIGGERS = ("submit-message", "regenerate-message")
_QUESTION = re.compile(r"([^:]+):([1-9][0-9]{0,15})")
_IMAGES = ("data:image/", "https://", "http://")


@dataclass(frozen=True, slots=True)
class UiQuestion:
    """A call that has waited for a person: an approval's id, or that of a `data-suspended` part.

    Attributes:
        run_id: The run.
        number: `Pending.number`.
    """

    run_id: str
    number: int


@dataclass(frozen=True, slots=True)
class UiAnswer:
    """What a client says to a question: *data* as `Runs.resume` takes it."""

    data: Any
    is_approval: bool


@dataclass(frozen=True, slots=True)
class UiPost:
    """The body of a POST.

    Attributes:
        chat: The id of the conversation; None where the client sends none.
        is_new: Whether an answer is wanted that is none of those that were given before.
        message: The message that it is about: the last one, or the one that `messageId` names.
        options: What the client chooses of `StreamOptions`.
        interrupt: Whether it cuts short what the chat's run says.
    """

    chat: str | None
    is_new: bool
    message: Mapping[str, Any]
    options: Mapping[str, Any]
    interrupt: bool = False

    @property
    def is_answer(self) -> bool:
        return bool(self.message["role"] == "assistant")

    def input(self) -> Sequence[Mapping[str, Any]]:
        """What the user says, as the input of a run."""
        if self.message["role"] != "user":
            raise bad_request("Only messages of role 'user' or 'assistant' can be the last one.")
        content = [_content(part) for part in _parts(self.message)]
        if not content:
            raise bad_request("The last message has no parts.")
        if len(content) == 1 and content[0]["type"] == "text":
            return [{"role": "user", "content": content[0]["text"]}]
        return [{"role": "user", "content": content}]

    def name(self, agent: str) -> str | None:
        """What names the run that this starts, so that the same post again is the same run."""
        id_ = self.message.get("id")
        if self.is_new or not isinstance(id_, str) or not id_:
            return None
        # A user may edit a message, which keeps its id.
        said = hashlib.sha256(dump_json(self.input()).encode(errors="surrogatepass")).hexdigest()
        return dump_json([agent, self.chat, id_, said])

    def answers(self) -> Mapping[UiQuestion, UiAnswer]:
        """The questions that the message has an answer to."""
        found: dict[UiQuestion, UiAnswer] = {}
        calls = {str(part.get("toolCallId")): part for part in self._calls()}
        for part in calls.values():
            if part.get("state") == "approval-responded":
                found.update([_approval_answer(part.get("approval"))])
        for part in _parts(self.message):
            if part.get("type") == "data-suspended":
                found.update(_output_answer(part, calls))
        if len({question.run_id for question in found}) > 1:
            raise bad_request("The message has answers to questions of several runs.")
        return found

    def _calls(self) -> Iterator[Mapping[str, Any]]:
        for part in _parts(self.message):
            type_ = str(part.get("type"))
            if type_ == "dynamic-tool" or type_.startswith("tool-"):
                yield part


def ui_post(exchange: Exchange) -> UiPost:
    """Read the body of a POST, whatever its content type says."""
    body = exchange.json(*_OWN, *CLIENT_OPTIONS, *SERVICE_OPTIONS)
    chat, trigger = body.get("id"), body.get("trigger", _TRIGGERS[0])
    if chat is not None and (not isinstance(chat, str) or not chat):
        raise bad_request("id is no text: send the id of the chat.")
    if not isinstance(body.get("interrupt", False), bool):
        raise bad_request("interrupt: use true or false.")
    if trigger not in _TRIGGERS:
        raise bad_request(f"trigger: use one of {', '.join(_TRIGGERS)}.")
    return UiPost(
        chat=chat,
        is_new=trigger != _TRIGGERS[0],
        message=_message(body.get("messages"), body.get("messageId")),
        options={key: value for key, value in body.items() if key not in _OWN},
        interrupt=body.get("interrupt", False),
    )


def _message(messages: Any, message_id: Any) -> Mapping[str, Any]:
    """The last message, or the assistant's of that id: an older one may still wait for answers."""
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages: send a list of UI messages, at least the last one.")
    if not all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in messages):
        raise bad_request("messages: each is an object with a role and parts.")
    for each in messages:
        if message_id is not None and each.get("id") == message_id and each["role"] == "assistant":
            return dict(each)
    return dict(messages[-1])


def _parts(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    parts = message.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise bad_request("A message has its parts as a list of objects.")
    return parts


def _content(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A piece of what a user says."""
    match part:
        case {"type": "text", "text": str() as text}:
            return {"type": "text", "text": text}
        case {"type": "file", "mediaType": str() as media, "url": str() as url}:
            if not media.startswith("image/") or not url.startswith(_IMAGES):
                raise bad_request(
                    f"A file of type {media[:80]!r} cannot be sent: send images, as data: or "
                    "https: URLs."
                )
            return {"type": "image", "url": url}
    raise bad_request(
        f"A part of type {str(part.get('type'))[:80]!r} cannot be sent: a user's message has text "
        "and images."
    )


def _approval_answer(approval: Any) -> tuple[UiQuestion, UiAnswer]:
    match approval:
        case {"id": str() as id_, "approved": bool() as is_approved}:
            reason = approval.get("reason")
            if reason is not None and not isinstance(reason, str):
                raise bad_request("The reason of an approval is no text.")
            given = {} if reason is None else {"reason": reason}
            return _question(id_), UiAnswer({"approved": is_approved, **given}, is_approval=True)
    raise bad_request("The answer to an approval has its id and approved, true or false.")


def _output_answer(
    suspended: Mapping[str, Any], calls: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[UiQuestion, UiAnswer]]:
    """The output that a client has added to a call that asks something."""
    data = suspended.get("data")
    call = calls.get(str(data.get("toolCallId"))) if isinstance(data, dict) else None
    if call is None or call.get("state") != "output-available" or call.get("preliminary") is True:
        return
    yield _question(suspended.get("id")), UiAnswer(call.get("output"), is_approval=False)


def _question(id_: Any) -> UiQuestion:
    found = _QUESTION.fullmatch(id_) if isinstance(id_, str) else None
    if found is None:
        raise bad_request("The message has an answer to a question that nobody asked here.")
    return UiQuestion(found[1], int(found[2]))
