"""A run as people want to read it afterwards: what happened, in its order."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from evented_agent.agents.callbacks import StepInfo
from evented_agent.agents.tools.approvals import CallDecision
from evented_agent.cli.output import call_line, decided_line, printable, short
from evented_agent.models.messages import Message, SystemMessage, ToolMessage, UserMessage
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import RunResult


def timeline(info: RunInfo, result: RunResult) -> Iterator[str]:
    """What was asked, then each step with its calls, decisions and results, then the end."""
    yield f"{_clock(info.created_at)}  created"
    for message in result.messages[: _given(result.messages)]:
        yield from _indented(f"{message.role}: {_text_of(message)}")
    if info.started_at is not None:
        waited = (info.started_at - info.created_at).total_seconds()
        yield f"{_clock(info.started_at)}  started, after {waited:.1f} s"
    for step in result.steps:
        yield from _step(step, result.decisions)
    if info.ended_at is not None:
        reason = f" ({info.finish_reason})" if info.finish_reason else ""
        yield f"{_clock(info.ended_at)}  {info.status}{reason}"
    if info.error is not None:
        yield from _indented(f"! {info.error.name}: {info.error.message}")


def _step(step: StepInfo, decisions: Sequence[CallDecision]) -> Iterator[str]:
    usage = step.usage
    tokens = f"{usage.input_tokens} in, {usage.output_tokens} out"
    yield f"step {step.step}    {step.finish_reason}, {tokens}"
    if step.text:
        yield from _indented(f"assistant: {step.text}")
    results = step.results_by_call
    for call in step.tool_calls:
        yield from _indented(call_line(call.name, call.arguments))
        for decision in decisions:
            if decision.tool_call_id == call.id:
                yield from _indented(f"= {decided_line(decision)}")
        if (found := results.get(call.id)) is not None:
            yield from _indented(_result(found))


def _result(found: ToolMessage) -> str:
    return f"{'!' if found.is_error else '<'} {found.name}: {short(found.result)}"


def _given(messages: Sequence[Message]) -> int:
    """How many messages the run began with: those before anybody answered."""
    answers = (
        at for at, m in enumerate(messages) if not isinstance(m, UserMessage | SystemMessage)
    )
    return next(answers, len(messages))


def _text_of(message: Any) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return short([part.model_dump(mode="json") for part in content])


def _indented(text: str) -> Iterator[str]:
    for line in printable(text).splitlines():
        yield f"          {line}"


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")
