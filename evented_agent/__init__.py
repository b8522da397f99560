"""Durable LLM agents on Celery and Redis Streams: nothing that was said or done is lost."""

from evented_agent.agents import Agent
from evented_agent.background import Background
from evented_agent.celery import EventedAgent, create_evented_agent
from evented_agent.chunks import Chunk, Usage
from evented_agent.durable import DurableAgent
from evented_agent.errors import (
    BlockingCall,
    ConfigurationError,
    DeclarationError,
    EventedAgentError,
    InvalidDecision,
    LedgerUnavailable,
    ModelError,
    NotFailed,
    NotSuspended,
    RunAborted,
    RunConflict,
    RunDeleted,
    RunError,
    RunExpired,
    RunFailed,
    RunNotFound,
    SuspensionExpired,
    ThreadBusy,
    TooLarge,
    UnknownAgent,
)
from evented_agent.listing import RunPage
from evented_agent.local import create_durable_agent
from evented_agent.memory import Memory, Thread, Window
from evented_agent.policies import (
    NextStep,
    Pending,
    RunEvent,
    StepChoice,
    StepInfo,
    Verdict,
)
from evented_agent.results import BackgroundTask, RunInfo, RunResult
from evented_agent.runs import Runs
from evented_agent.settings import Settings
from evented_agent.stream import AsyncRunStream, RunStream
from evented_agent.tools import ApprovalRequest, ToolContext, tool

__all__ = [
    "Agent",
    "ApprovalRequest",
    "AsyncRunStream",
    "Background",
    "BackgroundTask",
    "BlockingCall",
    "Chunk",
    "ConfigurationError",
    "DeclarationError",
    "DurableAgent",
    "EventedAgent",
    "EventedAgentError",
    "InvalidDecision",
    "LedgerUnavailable",
    "Memory",
    "ModelError",
    "NextStep",
    "NotFailed",
    "NotSuspended",
    "Pending",
    "RunAborted",
    "RunConflict",
    "RunDeleted",
    "RunError",
    "RunEvent",
    "RunExpired",
    "RunFailed",
    "RunInfo",
    "RunNotFound",
    "RunPage",
    "RunResult",
    "RunStream",
    "Runs",
    "Settings",
    "StepChoice",
    "StepInfo",
    "SuspensionExpired",
    "Thread",
    "ThreadBusy",
    "TooLarge",
    "ToolContext",
    "UnknownAgent",
    "Usage",
    "Verdict",
    "Window",
    "create_durable_agent",
    "create_evented_agent",
    "tool",
]
