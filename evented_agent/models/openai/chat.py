"""Models behind the Chat Completions API, OpenAI's or any compatible server's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from evented_agent.models.history import (
    alternated,
    images_after_results,
    paired,
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
from evented_agent.models.openai.chat_answer import ChatAnswer
from evented_agent.models.openai.faults import Faults
from evented_agent.models.openai.kept import (
    is_foreign,
    kept_for,
    returned_calls,
    returned_content,
    returned_fields,
)
from evented_agent.models.openai.profiles import Profile, profile_of
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

#: What Gemini takes in place of the signature of a call that another model made.
_NO_SIGNATURE = {"google": {"thought_signature": "skip_thought_signature_validator"}}


@dataclass(frozen=True)
class OpenAIChat(OpenAIModel):
    """A model behind a Chat Completions API.

    ``OpenAIChat("qwen3", base_url="http://127.0.0.1:8000/v1")`` is a model of a local server.
    """

    provider: ClassVar[str] = "openai-chat"
    path: ClassVar[str] = "/chat/completions"

    def _body(self, request: ModelRequest, profile: Profile, origin: str) -> dict[str, Any]:
        return chat_body(self.model, request, profile, origin)

    def _answer(
        self, request: ModelRequest, profile: Profile, origin: str, faults: Faults
    ) -> Answer:
        wanted = wanted_output(request, profile)
        name = wanted.name if wanted is not None and wanted.mode == "tool" else None
        return ChatAnswer(faults, origin, name, profile.cached_tokens)


def chat_body(
    model: str, request: ModelRequest, profile: Profile, origin: str = ""
) -> dict[str, Any]:
    """Return the JSON of one call, all but ``stream``.

    What a server said goes back to it only where its *origin* is the same.
    """
    wanted = wanted_output(request, profile)
    instructions = request.instructions
    if wanted is not None and wanted.mode == "prompt":
        instructions = "\n\n".join(filter(None, (instructions, output_prompt(wanted))))
    messages = fitted(request.messages, profile)
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(instructions, messages, profile, origin),
    }
    if profile.stream_usage:
        body["stream_options"] = {"include_usage": True}
    body |= _tools(request, profile, wanted)
    settings = plain_settings(request.settings, profile)
    if "tools" not in body or not profile.parallel_calls:
        # OpenAI refuses it in a call without tools.
        settings.pop("parallel_tool_calls", None)
    if "max_output_tokens" in settings:
        settings[profile.limit] = settings.pop("max_output_tokens")
    if wanted is not None:
        settings["response_format"] = _response_format(wanted, profile, "tools" in body)
    return with_settings(body, settings)


def fitted(messages: Sequence[Message], profile: Profile) -> list[Message]:
    """The conversation as the model takes it; see `evented_agent.models.history`."""
    made = without_empty(paired(messages))
    if not profile.images:
        made = list(without_images(made))
    made = images_after_results(made, alternates=profile.alternates)
    if profile.system_first:
        made = system_first(made)
    return alternated(made) if profile.alternates else made


_ANY = profile_of("", "api.openai.com")


def chat_messages(
    instructions: str,
    messages: Sequence[Message],
    profile: Profile = _ANY,
    origin: str = "",
) -> list[dict[str, Any]]:
    """Return the conversation as the API wants it."""
    system = [SystemMessage(content=instructions)] if instructions else []
    ids = RequestIds(profile.call_ids)
    written = [_message(each, profile, origin, ids) for each in (*system, *messages)]
    return _one_system(written, profile) if profile.system_first else written


def _one_system(written: list[dict[str, Any]], profile: Profile) -> list[dict[str, Any]]:
    """System messages at the beginning as one: templates look at the first alone."""
    role = profile.system_role
    first = next((at for at, each in enumerate(written) if each["role"] != role), len(written))
    if first < 2 or role == "user":
        return written
    text = "\n\n".join(each["content"] for each in written[:first])
    return [{"role": role, "content": text}, *written[first:]]


def _message(message: Message, profile: Profile, origin: str, ids: RequestIds) -> dict[str, Any]:
    match message:
        case SystemMessage():
            return {"role": profile.system_role, "content": message.content}
        case UserMessage():
            return {"role": "user", "content": _user_content(message)}
        case AssistantMessage():
            return _assistant(message, profile, origin, ids)
        case ToolMessage():
            return {
                "role": "tool",
                "tool_call_id": ids.of_result(message),
                "content": output_text(message),
            }


def _user_content(message: UserMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    return [_part(part) for part in message.content]


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    image = {"url": part.url} if part.detail is None else {"url": part.url, "detail": part.detail}
    return {"type": "image_url", "image_url": image}


def _assistant(
    message: AssistantMessage, profile: Profile, origin: str, ids: RequestIds
) -> dict[str, Any]:
    kept = kept_for(message, origin) if profile.returns_reasoning else {}
    written: dict[str, Any] = {
        "role": "assistant",
        "content": returned_content(message, kept) or message.content,
        **returned_fields(message, kept),
    }
    if not message.tool_calls:
        return written
    if not written["content"] and profile.null_content:
        written["content"] = None
    if profile.needs_reasoning is not None:
        # Refused where it is missing, and it is another model's to know.
        written.setdefault(profile.needs_reasoning, " ")
    written["tool_calls"] = _calls(message, profile, origin, ids, kept)
    return written


def _calls(
    message: AssistantMessage,
    profile: Profile,
    origin: str,
    ids: RequestIds,
    kept: Mapping[str, Any],
) -> list[dict[str, Any]]:
    said = returned_calls(message, kept)
    own = None if is_foreign(message, origin) else [each.get("id") for each in said]
    written = []
    for call, id_, more in zip(message.tool_calls, ids.of_calls(message, own), said, strict=True):
        function = {"name": call.name, "arguments": arguments_text(call)}
        beside = {name: value for name, value in more.items() if name not in ("id", "function")}
        function |= more.get("function", {})
        written.append({"id": id_, "type": "function", "function": function, **beside})
    if profile.needs_signature and not any("extra_content" in call for call in written):
        written[0]["extra_content"] = _NO_SIGNATURE
    return written


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
        named = {"name": request.tool_choice["tool"]}
        made["tool_choice"] = {"type": "function", "function": named}
    elif word is not None:
        made["tool_choice"] = profile.required if word == "required" else word
    return made


def _tool(tool: ToolSpec, profile: Profile) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": adapted_schema(tool.parameters, profile),
    }
    if profile.strict == "always":
        function["strict"] = False
    return {"type": "function", "function": function}


def _response_format(
    wanted: WantedOutput, profile: Profile, has_tools: bool
) -> dict[str, Any] | None:
    if wanted.mode == "schema":
        schema = adapted_schema(wanted.schema, profile)
        described: dict[str, Any] = {"name": wanted.name, "schema": schema}
        if profile.strict != "never":
            described["strict"] = wanted.strict
        return {"type": "json_schema", "json_schema": described}
    is_helpful = wanted.mode == "prompt" and profile.json_object and not has_tools
    return {"type": "json_object"} if is_helpful else None
