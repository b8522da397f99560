"""Durable LLM agents on Celery and Redis Streams: nothing that was said or done is lost.

Public besides this module: `evented_agent.models` (models and messages), `evented_agent.chunks`
(what streams hold), `evented_agent.errors`, and `evented_agent.testing`.
"""

from evented_agent.agents.agent import Agent
from evented_agent.agents.callbacks import NextStep, RunEvent, StepChoice, StepInfo, Verdict
from evented_agent.agents.memory import Memory, Thread, Window
from evented_agent.agents.run_options import StreamOptions
from evented_agent.agents.tools.approvals import ApprovalRequest, CallDecision, Pending
from evented_agent.agents.tools.background import Background
from evented_agent.agents.tools.context import ToolContext
from evented_agent.agents.tools.mcp_server import MCPServer
from evented_agent.agents.tools.policy import ToolOptions, ToolPolicy
from evented_agent.agents.tools.tool import Tool, tool
from evented_agent.agents.validation import AgentOptions
from evented_agent.chunks import AnyChunk, Chunk, ErrorInfo, TextUpdate, Usage
from evented_agent.client.begin import Starting
from evented_agent.client.conversations import ThreadPage
from evented_agent.client.durable_agent import DurableAgent
from evented_agent.client.listing import RunPage
from evented_agent.client.metrics import Metrics
from evented_agent.client.metrics_series import MetricsSeries
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.runs import Runs
from evented_agent.client.thread_stream import AsyncThreadStream, ThreadStream
from evented_agent.engines.celery import EventedAgent, create_evented_agent
from evented_agent.engines.in_process import InProcessAgent, create_durable_agent
from evented_agent.errors import (
    AccessDenied,
    BlockingCall,
    ConfigurationError,
    DeclarationError,
    EventedAgentError,
    InboxFull,
    InvalidCursor,
    InvalidDecision,
    LedgerUnavailable,
    LimitReached,
    ModelError,
    NotFailed,
    NotSuspended,
    RunAborted,
    RunConflict,
    RunDeleted,
    RunEnded,
    RunError,
    RunExpired,
    RunFailed,
    RunNotFound,
    SuspensionExpired,
    ThreadBusy,
    ThreadNotFound,
    TooLarge,
    UnknownAgent,
)
from evented_agent.ledger.embedded_server import embedded_broker
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.workers import LiveWorker
from evented_agent.models.cost import CallCost, Cost, RunsCost
from evented_agent.models.protocol import Model
from evented_agent.remote.http_runs import HttpRuns
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import BackgroundTask, RunResult
from evented_agent.state.task_attempt import AttemptList, TaskAttempt
from evented_agent.state.thread_info import ThreadInfo, ThreadTurn

__all__ = [
    "AccessDenied",
    "Agent",
    "AgentOptions",
    "AnyChunk",
    "ApprovalRequest",
    "AsyncRunStream",
    "AsyncThreadStream",
    "AttemptList",
    "Background",
    "BackgroundTask",
    "BlockingCall",
    "CallCost",
    "CallDecision",
    "Chunk",
    "ConfigurationError",
    "Cost",
    "DeclarationError",
    "DurableAgent",
    "ErrorInfo",
    "EventedAgent",
    "EventedAgentError",
    "HttpRuns",
    "InProcessAgent",
    "InboxFull",
    "InvalidCursor",
    "InvalidDecision",
    "LedgerUnavailable",
    "LimitReached",
    "LiveWorker",
    "MCPServer",
    "Memory",
    "Metrics",
    "MetricsSeries",
    "Model",
    "ModelError",
    "NextStep",
    "NotFailed",
    "NotSuspended",
    "Pending",
    "Receipt",
    "RunAborted",
    "RunConflict",
    "RunDeleted",
    "RunEnded",
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
    "RunsCost",
    "Settings",
    "Starting",
    "StepChoice",
    "StepInfo",
    "StreamOptions",
    "SuspensionExpired",
    "TaskAttempt",
    "TextUpdate",
    "Thread",
    "ThreadBusy",
    "ThreadInfo",
    "ThreadNotFound",
    "ThreadPage",
    "ThreadStream",
    "ThreadTurn",
    "TooLarge",
    "Tool",
    "ToolContext",
    "ToolOptions",
    "ToolPolicy",
    "UnknownAgent",
    "Usage",
    "Verdict",
    "Window",
    "create_durable_agent",
    "create_evented_agent",
    "embedded_broker",
    "tool",
]
