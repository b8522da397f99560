"""What is known of runs as JSON, for the server and the client of the HTTP API: one adapter each.

Fields have the names that they have in Python; times are ISO 8601 in UTC.
"""

from typing import Any

from pydantic import TypeAdapter

from evented_agent.agents.tools.approvals import Pending
from evented_agent.ledger.workers import LiveWorker
from evented_agent.models.cost import RunsCost
from evented_agent.models.messages import Message
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import BackgroundTask, RunResult
from evented_agent.state.task_attempt import TaskAttempt
from evented_agent.state.thread_info import ThreadInfo

RUN_INFO: TypeAdapter[RunInfo] = TypeAdapter(RunInfo)
RUN_INFOS: TypeAdapter[list[RunInfo]] = TypeAdapter(list[RunInfo])
RUNS_COST: TypeAdapter[RunsCost] = TypeAdapter(RunsCost)
RUN_RESULT: TypeAdapter[RunResult[Any]] = TypeAdapter(RunResult[Any])
RECEIPT: TypeAdapter[Receipt] = TypeAdapter(Receipt)
PENDING: TypeAdapter[list[Pending]] = TypeAdapter(list[Pending])
BACKGROUND_TASK: TypeAdapter[BackgroundTask] = TypeAdapter(BackgroundTask)
BACKGROUND_TASKS: TypeAdapter[list[BackgroundTask]] = TypeAdapter(list[BackgroundTask])
TASK_ATTEMPTS: TypeAdapter[list[TaskAttempt]] = TypeAdapter(list[TaskAttempt])
THREAD_INFO: TypeAdapter[ThreadInfo] = TypeAdapter(ThreadInfo)
THREAD_INFOS: TypeAdapter[list[ThreadInfo]] = TypeAdapter(list[ThreadInfo])
MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(list[Message])
LIVE_WORKERS: TypeAdapter[list[LiveWorker]] = TypeAdapter(list[LiveWorker])
