"""Models behind OpenAI's Responses API, called without storing anything there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from evented_agent.models.history import (
    alternated,
    paired,
    result_images,
    system_first,
    without_empty,
    without_images,
)
from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from evented_agent.models.openai.faults import Faults
from evented_agent.models.openai.kept_items import items_for, restored_items
from evented_agent.models.openai.profiles import Profile, profile_of
from evented_agent.models.openai.responses_answer import ResponsesAnswer
from evented_agent.models.openai.schemas import (
    WantedOutput,
    adapted_schema,
    output_prompt,
    output_tool,
    wanted_output,
)
from evented_agent.models.openai.stream import Answer, OpenAIModel
from evented_agent.models.openai.values import (
    RequestIds,
    arguments_text,
    hosted_tools,
    output_text,
    plain_settings,
    tool_choice_word,
    with_settings,
)
from evented_agent.models.protocol import ModelRequest, ToolSpec

_ENCRYPTED = "reasoning.encrypted_content"
# Settings that the Responses API keeps inside an object: which, and under what name.
_NESTED = {
    "reasoning_effort": ("reasoning", "effort"),
    "reasoning_summary": ("reasoning", "summary"),
    "verbosity": ("text", "verbosity"),
    "response_format": ("text", "format"),
}


@dataclass(frozen=True)
class OpenAIResponses(OpenAIModel):
    """A model behind the Responses API; reasoning items travel with the conversation, encrypted."""

    provider: ClassVar[str] = "openai"
    path: ClassVar[str] = "/responses"

    def _body(self, request: ModelRequest, profile: Profile, origin: str) -> dict[str, Any]:
        return responses_body(self.model, request, profile, origin)

    def _answer(
        self, request: ModelRequest, profile: Profile, origin: str, faults: Faults
    ) -> Answer:
        wanted = wanted_output(request, profile)
        name = wanted.name if wanted is not None and wanted.mode == "tool" else None
        return ResponsesAnswer(faults, origin, name)


def responses_body(
    model: str, request: ModelRequest, profile: Profile, origin: str
) -> dict[str, Any]:
    """Return the JSON of one call, all but ``stream``.

    Reasoning items that came from another *origin* are left out: only their maker can read them.
    """
    wanted = wanted_output(request, profile)
    messages = _fitted(request.messages, profile)
    body: dict[str, Any] = {
        "model": model,
        "input": responses_input(messages, origin, profile),
        "store": False,
    }
    if profile.encrypted_reasoning:
        body["include"] = [_ENCRYPTED]
    instructions = request.instructions
    if wanted is not None and wanted.mode == "prompt":
        instructions = "\n\n".join(filter(None, (instructions, output_prompt(wanted))))
    if instructions:
        body["instructions"] = instructions
    body |= _tools(request, profile, wanted)
    settings = plain_settings(request.settings, profile)
    if wanted is not None:
        settings["response_format"] = _response_format(wanted, profile)
    return with_settings(body, _settings(settings, body.get("include", [])))


def _fitted(messages: Sequence[Message], profile: Profile) -> list[Message]:
    made = without_empty(paired(messages), lambda message: bool(message.provider))
    if not profile.images:
        made = list(without_images(made))
    if profile.system_first:
        made = system_first(made)
    return alternated(made) if profile.alternates else made


_ANY = profile_of("", "api.openai.com")


def responses_input(
    messages: Sequence[Message], origin: str, profile: Profile = _ANY
) -> list[dict[str, Any]]:
    """Return the conversation as the API's input items."""
    # The API takes any name, also those of other models.
    ids = RequestIds("any" if profile.call_ids == "own" else profile.call_ids)
    return [item for message in messages for item in _items(message, origin, profile, ids)]


def _settings(given: Mapping[str, Any], include: list[str]) -> dict[str, Any]:
    settings = {name: value for name, value in given.items() if name not in _NESTED}
    for name, (outer, inner) in _NESTED.items():
        if given.get(name) is not None:
            value = _flat_format(given[name]) if inner == "format" else given[name]
            settings[outer] = {**(settings.get(outer) or {}), inner: value}
    if settings.get("include"):
        settings["include"] = list(dict.fromkeys([*include, *settings["include"]]))
    return settings


def _response_format(wanted: WantedOutput, profile: Profile) -> dict[str, Any] | None:
    if wanted.mode != "schema":
        return {"type": "json_object"} if wanted.mode == "prompt" and profile.json_object else None
    adapted = adapted_schema(wanted.schema, profile)
    schema: dict[str, Any] = {"name": wanted.name, "schema": adapted}
    if profile.strict != "never":
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def _flat_format(response_format: Mapping[str, Any]) -> dict[str, Any]:
    schema = response_format.get("json_schema")
    if not isinstance(schema, Mapping):
        return dict(response_format)
    return {"type": "json_schema", **schema}


def _items(
    message: Message, origin: str, profile: Profile, ids: RequestIds
) -> list[dict[str, Any]]:
    match message:
        case SystemMessage():
            return [{"role": profile.system_role, "content": message.content}]
        case UserMessage():
            return [{"role": "user", "content": _user_content(message)}]
        case AssistantMessage():
            return _assistant_items(message, origin, profile, ids)
        case ToolMessage():
            output = {"call_id": ids.of_result(message), "output": _output(message)}
            return [{"type": "function_call_output", **output}]


def _output(message: ToolMessage) -> str | list[dict[str, Any]]:
    """What a tool returned: text, or parts where there are images among it."""
    text, images = ("", []) if message.is_error else result_images(message.result)
    if not images:
        return output_text(message)
    told = output_text(message.model_copy(update={"result": text}))
    return [_part(TextPart(text=told)), *map(_part, images)]


def _user_content(message: UserMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    return [_part(part) for part in message.content]


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    return {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}


def _assistant_items(
    message: AssistantMessage, origin: str, profile: Profile, ids: RequestIds
) -> list[dict[str, Any]]:
    items = items_for(message, origin) if profile.returns_reasoning else ()
    said = [item for item in items if item["type"] == "function_call"]
    own = [item.get("call_id") for item in said] if len(said) == len(message.tool_calls) else None
    calls = [
        {
            "type": "function_call",
            "call_id": id_,
            "name": call.name,
            "arguments": arguments_text(call),
        }
        for call, id_ in zip(message.tool_calls, ids.of_calls(message, own), strict=True)
    ]
    restored = restored_items(message, items, calls) if items else None
    if restored is not None:
        return restored
    texts = [{"role": "assistant", "content": message.content}] if message.content else []
    return [*texts, *calls]


def _tools(request: ModelRequest, profile: Profile, wanted: WantedOutput | None) -> dict[str, Any]:
    word = tool_choice_word(request.tool_choice, profile)
    specs = list(request.tools)
    if wanted is not None and wanted.mode == "tool":
        specs.append(output_tool(wanted))
        # Any call will do, an answer is one too.
        word = tool_choice_word("required", profile)
    tools = [*hosted_tools(request.settings), *(_tool(tool, profile) for tool in specs)]
    if not tools:
        return {}
    made: dict[str, Any] = {"tools": tools}
    if not specs and word != "none":
        return made
    if word == "tool" and not isinstance(request.tool_choice, str):
        made["tool_choice"] = {"type": "function", "name": request.tool_choice["tool"]}
    elif word is not None:
        made["tool_choice"] = profile.required if word == "required" else word
    return made


def _tool(tool: ToolSpec, profile: Profile) -> dict[str, Any]:
    written = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": adapted_schema(tool.parameters, profile),
    }
    # The API takes a tool for strict where nothing is said.
    return written if profile.strict == "never" else {**written, "strict": False}
