"""Models: the protocol the engine needs, and the providers behind it."""

from evented_agent.models.openai.chat import OpenAIChat
from evented_agent.models.openai.responses import OpenAIResponses
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    FinishReason,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningPiece,
    TextPiece,
    ToolChoice,
    ToolSpec,
)
from evented_agent.models.resolve import resolve

__all__ = [
    "AnswerEnded",
    "CallPiece",
    "CallStarted",
    "FinishReason",
    "Model",
    "ModelEvent",
    "ModelRequest",
    "OpenAIChat",
    "OpenAIResponses",
    "ReasoningPiece",
    "TextPiece",
    "ToolChoice",
    "ToolSpec",
    "resolve",
]
