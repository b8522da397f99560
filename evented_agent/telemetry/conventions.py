"""What spans and metrics are called: OpenTelemetry's GenAI conventions, v0.1.0.

Imports nothing of OpenTelemetry. The conventions have a repository of their own,
https://github.com/open-telemetry/semantic-conventions-genai.
"""

from collections.abc import Mapping
from typing import Any

from evented_agent.chunks import Usage
from evented_agent.models.protocol import ModelRequest

#: A value of a span's or a metric's attribute.
Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]

OPERATION, PROVIDER = "gen_ai.operation.name", "gen_ai.provider.name"
AGENT, AGENT_VERSION = "gen_ai.agent.name", "gen_ai.agent.version"
CONVERSATION, REQUEST_MODEL = "gen_ai.conversation.id", "gen_ai.request.model"
TOOL, CALL_ID = "gen_ai.tool.name", "gen_ai.tool.call.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
ERROR = "error.type"
#: Ours: what the conventions have no word for.
RUN, STEP, ATTEMPT = "evented_agent.run.id", "evented_agent.step", "evented_agent.attempt"
CRASHES = "evented_agent.crashes"
STATUS, FINISH_REASON = "evented_agent.run.status", "evented_agent.run.finish_reason"
DECISIONS, SUSPENSION = "evented_agent.decisions", "evented_agent.suspension"
#: Seconds that the run waited for the decision.
WAITED = "evented_agent.waited"
#: The event of a span after which the run waits for a person.
SUSPENDED = "evented_agent.suspended"

#: Provider names of ours, where the conventions have others.
_PROVIDERS = {
    "openai-chat": "openai",
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}
_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool-calls": "tool_call",
    "content-filter": "content_filter",
    "abort": "error",
    "interrupted": "error",
}
_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_input_tokens": "cache_read.input_tokens",
    "cache_write_tokens": "cache_write.input_tokens",
    "reasoning_tokens": "reasoning.output_tokens",
    "input_audio_tokens": "audio.input_tokens",
    "output_audio_tokens": "audio.output_tokens",
}
#: Settings of models by what the conventions call them.
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "max_tokens": ("max_output_tokens", "max_completion_tokens", "max_tokens"),
    "seed": ("seed",),
    "reasoning.level": ("reasoning_effort",),
}


def model_attributes(name: str, address: tuple[str, int] | None) -> Attributes:
    """Who is asked: operation, provider, model and server; for spans and metrics alike."""
    provider, slash, model = name.partition("/")
    found: Attributes = {
        OPERATION: "chat",
        PROVIDER: _PROVIDERS.get(provider, provider),
        REQUEST_MODEL: model if slash else name,
    }
    if address is not None:
        found |= {"server.address": address[0], "server.port": address[1]}
    return found


def request_attributes(request: ModelRequest) -> Attributes:
    """How a model is asked, without what is said."""
    found: Attributes = {"gen_ai.request.stream": True}
    settings = request.settings
    for name, keys in _SETTINGS.items():
        given = next((settings[key] for key in keys if settings.get(key) is not None), None)
        if isinstance(given, str | int | float) and not isinstance(given, bool):
            found[f"gen_ai.request.{name}"] = given
    reasoning = settings.get("reasoning")
    if isinstance(reasoning, Mapping) and isinstance(reasoning.get("effort"), str):
        found["gen_ai.request.reasoning.level"] = reasoning["effort"]
    stop = settings.get("stop")
    sequences = [stop] if isinstance(stop, str) else stop
    if isinstance(sequences, list) and all(isinstance(each, str) for each in sequences):
        found["gen_ai.request.stop_sequences"] = sequences
    if settings.get("response_format") is not None:
        found["gen_ai.output.type"] = "json"
    return found


def usage_attributes(usage: Usage) -> dict[str, int]:
    """Tokens by their names behind ``gen_ai.usage.``; details only where there are any."""
    counts = {name: int(getattr(usage, field)) for field, name in _USAGE.items()}
    always = ("input_tokens", "output_tokens")
    return {name: count for name, count in counts.items() if count or name in always}


def finish_reason(reason: str) -> str:
    """Why an answer ended, as the conventions say it."""
    return _FINISH_REASONS.get(reason, reason)


def error_type(error: BaseException) -> str:
    """The status of the provider's response, else the name of the error's class."""
    status: Any = getattr(error, "status", None)
    return str(status) if isinstance(status, int) else type(error).__name__
