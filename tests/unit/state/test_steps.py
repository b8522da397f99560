"""What a run came to, in the words of users: steps, and names that differ on the wire."""

from datetime import UTC, datetime
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import (
    BackgroundPayload,
    ErrorInfo,
    ToolAskPayload,
    ToolCallPayload,
    ToolInputDeltaPayload,
    Usage,
)
from evented_agent.chunks.base import payload_json
from evented_agent.cli.output import to_json
from evented_agent.models.messages import ToolCall, ToolMessage
from evented_agent.state.fold import fold
from evented_agent.state.journal import Entry, Result, Turn, dump_entry
from evented_agent.state.run_result import BackgroundTask
from evented_agent.state.views import step_info, step_infos


def test_steps_have_their_calls_in_order_and_what_was_used_by_their_end() -> None:
    calls = [ToolCall(id="a", name="look"), ToolCall(id="b", name="look")]
    used = Usage(input_tokens=2, output_tokens=1, total_tokens=3)
    entries: list[Entry] = [
        Turn(1, ("Let me look.",), calls, "tool-calls", used, reasoning="Hm.", model="m"),
        Result(1, "b", "look", error=ErrorInfo(name="ToolTimeout", message="Late.")),
        Result(1, "a", "look", 8),
        Turn(2, ("Eight.",), (), "stop", used, model="n"),
    ]
    state = fold(dump_entry(entry) for entry in entries)
    first, second = step_infos(state)

    assert (first.step, first.text, first.reasoning, first.model) == (1, "Let me look.", "Hm.", "m")
    assert first.results == [
        ToolMessage(tool_call_id="a", name="look", result=8),
        ToolMessage(tool_call_id="b", name="look", result="ToolTimeout: Late.", is_error=True),
    ]
    assert list(first.results_by_call) == ["a", "b"]
    assert (first.usage, first.total_usage) == (used, used)
    assert (second.finish_reason, second.total_usage) == ("stop", used + used)
    assert second == step_info(state)


def test_arguments_are_args_on_the_wire() -> None:
    ids: dict[str, Any] = {"tool_call_id": "c", "tool_name": "t"}
    wire = {"toolCallId": "c", "toolName": "t", "args": {"x": 1}}

    assert payload_json(ToolCallPayload(**ids, arguments={"x": 1})) == wire
    assert ToolCallPayload.model_validate(wire).arguments == {"x": 1}
    assert payload_json(ToolAskPayload(**ids, arguments={"x": 1})) == wire
    assert ToolAskPayload(**ids).arguments == {}
    assert payload_json(BackgroundPayload(**ids, task_id="r:c", arguments={"x": 1})) == {
        "taskId": "r:c",
        **wire,
    }
    assert payload_json(ToolInputDeltaPayload(tool_call_id="c", arguments_text_delta="{")) == {
        "toolCallId": "c",
        "argsTextDelta": "{",
    }


def test_what_commands_print_has_the_names_of_python() -> None:
    now = datetime.now(UTC)
    pending = Pending("r", "a", 7, "approval", "c", "t", {"x": 1}, now, now)
    task = BackgroundTask("r:c", "r", "a", "c", "t", {"x": 1}, "running", 1)

    for printed in (to_json(pending), to_json(task)):
        assert printed["arguments"] == {"x": 1}
        assert printed["tool_call_id"] == "c"
