"""Histories in the shapes that people have, turned into ours.  Imports no other model module."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: What OpenAI's objects hold beside what was said: none of it is for a model.
_ASIDE = frozenset(
    {"annotations", "audio", "function_call", "id", "logprobs", "name", "object", "refusal"}
    | {"parsed", "phase", "reasoning_content", "reasoning_details", "status", "type"}
)
_TEXTS = frozenset({"text", "input_text", "output_text", "refusal"})
_IMAGES = frozenset({"image_url", "input_image"})


def plain_messages(given: Iterable[Any]) -> list[Any]:
    """*given* with each message in OpenAI's shape turned into ours; the others as they are.

    Checks nothing: what is no message at all is left for whoever validates the list.
    """
    names: dict[str, str] = {}
    made: list[Any] = []
    for each in given:
        message = _plain(each, names)
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                names[str(call.get("id"))] = str(call.get("name"))
        made.append(message)
    return made


def _plain(given: Any, names: Mapping[str, str]) -> Any:
    message = _mapping(given)
    if message is None:
        return given
    role = message.get("role") or message.get("type")
    if role == "tool":
        result = message.get("content")
        return _result(message, result, "tool_call_id", names) if "content" in message else message
    if role == "function_call_output":
        return _result(message, message.get("output"), "call_id", names)
    read = _READERS.get(str(role))
    return message if read is None else read(message)


def _mapping(given: Any) -> dict[str, Any] | None:
    if isinstance(given, Mapping):
        return dict(given)
    dump = getattr(given, "model_dump", None)
    if dump is None or not type(given).__module__.startswith("openai."):
        return None
    return dict(dump(exclude_none=True))


def _system(message: dict[str, Any]) -> dict[str, Any]:
    return {"role": "system", "content": _text(message.get("content"))}


def _user(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list):
        content = [_part(part) for part in content]
    known = {name: value for name, value in message.items() if name not in ("name", "type")}
    return {**known, "content": content}


def _assistant(message: dict[str, Any]) -> dict[str, Any]:
    made = {name: value for name, value in message.items() if name not in _ASIDE}
    said = _text(message.get("content"))
    made["content"] = said if said or not message.get("refusal") else message["refusal"]
    thought = message.get("reasoning") or message.get("reasoning_content")
    if thought:
        made["reasoning"] = thought
    calls = message.get("tool_calls")
    made["tool_calls"] = [_call(call) for call in calls] if isinstance(calls, list) else []
    return made


def _lone_call(message: dict[str, Any]) -> dict[str, Any]:
    call = {"id": message.get("call_id"), "function": message}
    return {"role": "assistant", "tool_calls": [_call(call)]}


_READERS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "developer": _system,
    "system": _system,
    "user": _user,
    "assistant": _assistant,
    "function_call": _lone_call,
}


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        return call
    function = call["function"]
    named = {"id": call.get("id"), "name": function.get("name")}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            return {**named, "invalid": arguments}
    if arguments is None:
        arguments = {}
    is_object = isinstance(arguments, dict)
    return {**named, "arguments": arguments} if is_object else {**named, "invalid": str(arguments)}


def _result(
    message: dict[str, Any], content: Any, id_name: str, names: Mapping[str, str]
) -> dict[str, Any]:
    id_ = message.get(id_name)
    result = content
    if isinstance(content, list):
        parts = [_part(part) for part in content]
        has_text_only = all(isinstance(part, dict) and "text" in part for part in parts)
        result = "".join(part["text"] for part in parts) if has_text_only else parts
    name = message.get("name") or names.get(str(id_)) or "tool"
    return {"role": "tool", "tool_call_id": id_, "name": name, "result": result}


def _text(content: Any) -> Any:
    """Text, also where it comes in parts; None is no text."""
    if content is None:
        return ""
    if isinstance(content, list):
        texts = [_part_text(part) for part in content]
        return "".join(texts) if all(isinstance(text, str) for text in texts) else content
    return content


def _part_text(part: Any) -> Any:
    if not isinstance(part, Mapping) or part.get("type") not in _TEXTS:
        return part if isinstance(part, str) else None
    return part.get("text") or part.get("refusal") or ""


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        return part
    if part.get("type") in _TEXTS:
        return {"type": "text", "text": part.get("text")}
    if part.get("type") not in _IMAGES:
        return dict(part)
    image = part.get("image_url")
    url, detail = (image, part.get("detail")) if not isinstance(image, Mapping) else (None, None)
    if isinstance(image, Mapping):
        url, detail = image.get("url"), image.get("detail")
    return {"type": "image", "url": url, **({} if detail is None else {"detail": detail})}
