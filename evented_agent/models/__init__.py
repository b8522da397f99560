"""Models and messages: the protocol of a model, its providers, and what a conversation holds."""

from evented_agent.models.messages import (
    AssistantMessage,
    ContentPart,
    ImagePart,
    Input,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.models.openai.chat import OpenAIChat
from evented_agent.models.openai.profiles import Profile, profile_of
from evented_agent.models.openai.responses import OpenAIResponses
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    FinishReason,
    ItemFound,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningPiece,
    SourceFound,
    TextPiece,
    ToolChoice,
    ToolSpec,
)
from evented_agent.models.resolve import resolve

__all__ = [
    "AnswerEnded",
    "AssistantMessage",
    "CallPiece",
    "CallStarted",
    "ContentPart",
    "FinishReason",
    "ImagePart",
    "Input",
    "ItemFound",
    "Message",
    "Model",
    "ModelEvent",
    "ModelRequest",
    "OpenAIChat",
    "OpenAIResponses",
    "Profile",
    "ReasoningPiece",
    "SourceFound",
    "SystemMessage",
    "TextPart",
    "TextPiece",
    "ToolCall",
    "ToolChoice",
    "ToolMessage",
    "ToolSpec",
    "UserMessage",
    "profile_of",
    "resolve",
]
