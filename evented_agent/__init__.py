"""Durable LLM agents on Celery and Redis Streams: nothing that was said or done is lost."""

from evented_agent.agents.agent import Agent
from evented_agent.agents.callbacks import NextStep, RunEvent, StepChoice, StepInfo, Verdict
from evented_agent.agents.memory import Memory, Thread, Window
from evented_agent.agents.tools.approvals import ApprovalRequest, Pending
from evented_agent.agents.tools.background import Background
from evented_agent.agents.tools.context import ToolContext
from evented_agent.agents.tools.tool import tool
from evented_agent.chunks import Chunk, Usage
from evented_agent.client.durable_agent import DurableAgent
from evented_agent.client.listing import RunPage
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.runs import Runs
from evented_agent.engines.celery import EventedAgent, create_evented_agent
from evented_agent.engines.in_process import create_durable_agent
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
from evented_agent.ledger.settings import Settings
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import BackgroundTask, RunResult

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
