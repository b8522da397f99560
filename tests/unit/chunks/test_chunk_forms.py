"""The stored form of each type of chunk, to the byte: other versions, and web clients, read it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from evented_agent.chunks import (
    Approval,
    BackgroundPayload,
    BackgroundProgressPayload,
    BackgroundTaskCancelled,
    BackgroundTaskCompleted,
    BackgroundTaskFailed,
    BackgroundTaskOutput,
    BackgroundTaskProgress,
    BackgroundTaskResumed,
    BackgroundTaskRunning,
    BackgroundTaskStarted,
    BackgroundTaskSuspended,
    CallSetAsidePayload,
    Child,
    Chunk,
    DeltaPayload,
    Error,
    ErrorInfo,
    ErrorPayload,
    Finish,
    FinishPayload,
    Handoff,
    HandoffPayload,
    MessageApplied,
    MessageAppliedPayload,
    MessageQueued,
    MessageQueuedPayload,
    Object,
    ObjectPayload,
    Output,
    PartPayload,
    Payload,
    ProviderItem,
    ProviderItemPayload,
    ReasoningDelta,
    ReasoningEnd,
    ReasoningStart,
    RunWaiting,
    Source,
    SourcePayload,
    Start,
    StartPayload,
    StepFinish,
    StepFinishPayload,
    StepResult,
    StepStart,
    StepStartPayload,
    TextDelta,
    TextEnd,
    TextStart,
    ToolAskPayload,
    ToolCallApproval,
    ToolCallDecided,
    ToolCallDelta,
    ToolCallDropped,
    ToolCallInputEnd,
    ToolCallInputStart,
    ToolCallPayload,
    ToolCallRequested,
    ToolCallSuspended,
    ToolDecidedPayload,
    ToolDeniedPayload,
    ToolError,
    ToolErrorPayload,
    ToolInputDeltaPayload,
    ToolInputEndPayload,
    ToolInputPayload,
    ToolOutput,
    ToolOutputDenied,
    ToolOutputPayload,
    ToolResult,
    ToolResultPayload,
    Usage,
    child_chunk,
)
from evented_agent.chunks.codec import CHUNKS, decode, encode_chunk, encode_delta, encode_end

END, MODEL, TOOL = "1:end", "1:model", "1:tool:c"
#: Scripts write these, and readers make the last.
NOT_WRITTEN_IN_PYTHON = {
    *("abort", "message-dropped", "run-waiting", "step-reset", "tool-call-deferred"),
    "topic-reset",
}

ERROR = ErrorInfo(name="ValueError", message="no “such” topic")
#: As loaded from a journal, which leaves zeros out.
USAGE = Usage(input_tokens=10, output_tokens=5, total_tokens=15)


def part(id_: str) -> PartPayload:
    return PartPayload(id=id_)


def background(**what: Any) -> BackgroundPayload:
    return BackgroundPayload(task_id="r:c", tool_call_id="c", tool_name="t", **what)


FORMS: list[tuple[type[Chunk], str | None, Payload, str]] = [
    (Start, None, StartPayload(id="writer"), '["start",null,{"id":"writer"}]'),
    (
        Handoff,
        "1:end",
        HandoffPayload(step=1, from_agent="a", to_agent="b"),
        '["handoff","1:end",{"step":1,"fromAgent":"a","toAgent":"b"}]',
    ),
    (
        MessageQueued,
        None,
        MessageQueuedPayload(
            message_id="m", input=[{"role": "user", "content": "Hi"}], by="ann", interrupt=True
        ),
        '["message-queued",null,{"messageId":"m","input":[{"role":"user","content":"Hi"}],'
        '"by":"ann","interrupt":true}]',
    ),
    (
        MessageApplied,
        "2:model",
        MessageAppliedPayload(message_ids=["m"], step=2),
        '["message-applied","2:model",{"messageIds":["m"],"step":2}]',
    ),
    (
        ToolCallDropped,
        "2:model",
        CallSetAsidePayload(tool_call_id="c", tool_name="add"),
        '["tool-call-dropped","2:model",{"toolCallId":"c","toolName":"add"}]',
    ),
    (StepStart, None, StepStartPayload(step=1), '["step-start",null,{"step":1}]'),
    (StepStart, END, StepStartPayload(step=2), '["step-start","1:end",{"step":2}]'),
    (
        StepFinish,
        END,
        StepFinishPayload(
            step=1,
            step_result=StepResult(reason="tool-calls", is_continued=True),
            output=Output(usage=USAGE),
        ),
        '["step-finish","1:end",{"step":1,"stepResult":{"reason":"tool-calls","isContinued":true},'
        '"output":{"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":15,'
        '"reasoningTokens":0,"cachedInputTokens":0}}}]',
    ),
    (
        Finish,
        END,
        FinishPayload(
            step_result=StepResult(reason="stop", is_continued=False), output=Output(usage=Usage())
        ),
        '["finish","1:end",{"stepResult":{"reason":"stop","isContinued":false},'
        '"output":{"usage":{"inputTokens":0,"outputTokens":0,"totalTokens":0,'
        '"reasoningTokens":0,"cachedInputTokens":0}}}]',
    ),
    (
        Finish,
        END,
        FinishPayload(
            step_result=StepResult(reason="stop", is_continued=False),
            output=Output(usage=USAGE, object={"city": None}),
        ),
        '["finish","1:end",{"stepResult":{"reason":"stop","isContinued":false},'
        '"output":{"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":15,'
        '"reasoningTokens":0,"cachedInputTokens":0},"object":{"city":null}}}]',
    ),
    (
        Error,
        MODEL,
        ErrorPayload(error=ERROR),
        '["error","1:model",{"error":{"name":"ValueError","message":"no “such” topic"}}]',
    ),
    (TextStart, MODEL, part("txt-1.1"), '["text-start","1:model",{"id":"txt-1.1"}]'),
    (
        TextDelta,
        MODEL,
        DeltaPayload(id="txt-1.1", text="Grüß \n"),
        '["text-delta","1:model",{"id":"txt-1.1","text":"Grüß \\n"}]',
    ),
    (TextEnd, MODEL, part("txt-1.1"), '["text-end","1:model",{"id":"txt-1.1"}]'),
    (ReasoningStart, MODEL, part("rsn-1.1"), '["reasoning-start","1:model",{"id":"rsn-1.1"}]'),
    (
        ReasoningDelta,
        MODEL,
        DeltaPayload(id="rsn-1.1", text="Hm"),
        '["reasoning-delta","1:model",{"id":"rsn-1.1","text":"Hm"}]',
    ),
    (ReasoningEnd, MODEL, part("rsn-1.1"), '["reasoning-end","1:model",{"id":"rsn-1.1"}]'),
    (
        Source,
        MODEL,
        SourcePayload(url="https://x/1", title=None, data={"start": 1}),
        '["source","1:model",{"url":"https://x/1","title":null,"data":{"start":1}}]',
    ),
    (
        ProviderItem,
        MODEL,
        ProviderItemPayload(kind="web_search_call", item={"id": "ws"}),
        '["provider-item","1:model",{"kind":"web_search_call","item":{"id":"ws"}}]',
    ),
    (
        Object,
        MODEL,
        ObjectPayload(object={"city": None, "days": [1, 2.5]}),
        '["object","1:model",{"object":{"city":null,"days":[1,2.5]}}]',
    ),
    (
        ToolCallInputStart,
        MODEL,
        ToolInputPayload(tool_call_id="c", tool_name="t"),
        '["tool-call-input-streaming-start","1:model",{"toolCallId":"c","toolName":"t"}]',
    ),
    (
        ToolCallDelta,
        MODEL,
        ToolInputDeltaPayload(tool_call_id="c", arguments_text_delta='{"a": '),
        '["tool-call-delta","1:model",{"toolCallId":"c","argsTextDelta":"{\\"a\\": "}]',
    ),
    (
        ToolCallInputEnd,
        MODEL,
        ToolInputEndPayload(tool_call_id="c"),
        '["tool-call-input-streaming-end","1:model",{"toolCallId":"c"}]',
    ),
    (
        ToolCallRequested,
        MODEL,
        ToolCallPayload(tool_call_id="c", tool_name="t", arguments={"some_key": None}),
        '["tool-call","1:model",{"toolCallId":"c","toolName":"t","args":{"some_key":null}}]',
    ),
    (
        ToolCallApproval,
        TOOL,
        ToolAskPayload(tool_call_id="c", tool_name="t", arguments={"name": "a"}),
        '["tool-call-approval","1:tool:c",{"toolCallId":"c","toolName":"t","args":{"name":"a"}}]',
    ),
    (
        ToolCallSuspended,
        TOOL,
        ToolAskPayload(
            tool_call_id="c",
            tool_name="t",
            arguments={},
            suspend_payload={"question": "?"},
            resume_schema={"type": "object"},
        ),
        '["tool-call-suspended","1:tool:c",{"toolCallId":"c","toolName":"t","args":{},'
        '"suspendPayload":{"question":"?"},"resumeSchema":{"type":"object"}}]',
    ),
    (
        ToolCallSuspended,
        TOOL,
        ToolAskPayload(
            tool_call_id="c", tool_name="t", arguments={}, suspend_payload=None, resume_schema=None
        ),
        '["tool-call-suspended","1:tool:c",{"toolCallId":"c","toolName":"t","args":{},'
        '"suspendPayload":null,"resumeSchema":null}]',
    ),
    (
        ToolCallDecided,
        None,
        ToolDecidedPayload(
            tool_call_id="c", tool_name="t", decision="approved", approved=True, by="ann"
        ),
        '["tool-call-decided",null,{"toolCallId":"c","toolName":"t","decision":"approved",'
        '"approved":true,"by":"ann"}]',
    ),
    (
        ToolCallDecided,
        None,
        ToolDecidedPayload(tool_call_id="c", tool_name="t", decision="expired", reason="late"),
        '["tool-call-decided",null,{"toolCallId":"c","toolName":"t","decision":"expired",'
        '"reason":"late"}]',
    ),
    (
        ToolOutputDenied,
        TOOL,
        ToolDeniedPayload(
            tool_call_id="c", tool_name="t", approval=Approval(approved=False, reason="It is mine.")
        ),
        '["tool-output-denied","1:tool:c",{"toolCallId":"c","toolName":"t",'
        '"approval":{"approved":false,"reason":"It is mine."}}]',
    ),
    (
        ToolOutput,
        TOOL,
        ToolOutputPayload(tool_call_id="c", tool_name="t", output={"percent": 50, "eta": None}),
        '["tool-output","1:tool:c",'
        '{"toolCallId":"c","toolName":"t","output":{"percent":50,"eta":null}}]',
    ),
    (
        ToolResult,
        TOOL,
        ToolResultPayload(tool_call_id="c", tool_name="t", result=[1, "a", None]),
        '["tool-result","1:tool:c",{"toolCallId":"c","toolName":"t","result":[1,"a",null]}]',
    ),
    (
        ToolResult,
        TOOL,
        ToolResultPayload(tool_call_id="c", tool_name="t", result=None),
        '["tool-result","1:tool:c",{"toolCallId":"c","toolName":"t","result":null}]',
    ),
    (
        ToolError,
        TOOL,
        ToolErrorPayload(tool_call_id="c", tool_name="t", error=ERROR),
        '["tool-error","1:tool:c",{"toolCallId":"c","toolName":"t",'
        '"error":{"name":"ValueError","message":"no “such” topic"}}]',
    ),
    (
        BackgroundTaskStarted,
        MODEL,
        background(arguments={"topic": "x"}),
        '["background-task-started","1:model",'
        '{"taskId":"r:c","toolCallId":"c","toolName":"t","args":{"topic":"x"}}]',
    ),
    (
        BackgroundTaskRunning,
        TOOL,
        background(),
        '["background-task-running","1:tool:c",{"taskId":"r:c","toolCallId":"c","toolName":"t"}]',
    ),
    (
        BackgroundTaskOutput,
        TOOL,
        background(output=None),
        '["background-task-output","1:tool:c",'
        '{"taskId":"r:c","toolCallId":"c","toolName":"t","output":null}]',
    ),
    (
        BackgroundTaskCompleted,
        TOOL,
        background(result=None),
        '["background-task-completed","1:tool:c",'
        '{"taskId":"r:c","toolCallId":"c","toolName":"t","result":null}]',
    ),
    (
        BackgroundTaskFailed,
        TOOL,
        background(error=ERROR),
        '["background-task-failed","1:tool:c",{"taskId":"r:c","toolCallId":"c","toolName":"t",'
        '"error":{"name":"ValueError","message":"no “such” topic"}}]',
    ),
    (
        BackgroundTaskCancelled,
        END,
        background(reason="Too late."),
        '["background-task-cancelled","1:end",'
        '{"taskId":"r:c","toolCallId":"c","toolName":"t","reason":"Too late."}]',
    ),
    (
        BackgroundTaskSuspended,
        TOOL,
        background(suspend_payload=None),
        '["background-task-suspended","1:tool:c",'
        '{"taskId":"r:c","toolCallId":"c","toolName":"t","suspendPayload":null}]',
    ),
    (
        BackgroundTaskResumed,
        TOOL,
        background(),
        '["background-task-resumed","1:tool:c",{"taskId":"r:c","toolCallId":"c","toolName":"t"}]',
    ),
    (
        BackgroundTaskProgress,
        END,
        BackgroundProgressPayload(task_ids=["r:c"], running_count=1),
        '["background-task-progress","1:end",{"taskIds":["r:c"],"runningCount":1}]',
    ),
]


@pytest.mark.parametrize(("chunk", "task", "payload", "stored"), FORMS)
def test_a_chunk_is_stored_as_it_always_was(
    chunk: type[Chunk], task: str | None, payload: Payload, stored: str
) -> None:
    assert encode_chunk(chunk, task, payload) == stored


@pytest.mark.parametrize(("chunk", "task", "payload", "stored"), FORMS)
def test_what_is_stored_is_read_back(
    chunk: type[Chunk], task: str | None, payload: Payload, stored: str
) -> None:
    read = decode(7, "7-1", "r", stored)

    assert type(read) is chunk
    assert (read.task, read.payload) == (task, payload)


def test_every_type_of_chunk_has_its_form_here() -> None:
    shown = {chunk for chunk, *_ in FORMS}

    # What a child says is made from the key of its task, see below.
    assert {CHUNKS[name] for name in CHUNKS.keys() - NOT_WRITTEN_IN_PYTHON} - {Child} == shown


@pytest.mark.parametrize(
    ("chunk", "payload"),
    [
        (TextDelta, DeltaPayload(id="p", text="a")),
        (ReasoningDelta, DeltaPayload(id="p", text="a")),
        (ToolCallDelta, ToolInputDeltaPayload(tool_call_id="p", arguments_text_delta="a")),
    ],
)
def test_the_fast_path_for_deltas_writes_the_same(chunk: type[Chunk], payload: Payload) -> None:
    assert encode_delta(chunk, MODEL, "p", "a") == encode_chunk(chunk, MODEL, payload)


def test_a_start_knows_the_chunk_that_ends_it() -> None:
    start = ToolInputPayload(tool_call_id="c", tool_name="t")

    assert encode_end(TextStart, MODEL, part("p")) == '["text-end","1:model",{"id":"p"}]'
    assert encode_end(ReasoningStart, MODEL, part("p")) == '["reasoning-end","1:model",{"id":"p"}]'
    assert encode_end(ToolCallInputStart, MODEL, start) == (
        '["tool-call-input-streaming-end","1:model",{"toolCallId":"c"}]'
    )
    assert encode_end(TextEnd, MODEL, part("p")) is None


def test_what_scripts_write_of_people_is_read() -> None:
    stored = '["run-waiting",null,{"for":"people","calls":["a","b"]}]'
    waiting = decode(7, "7-1", "r", stored)

    assert type(waiting) is RunWaiting
    assert (waiting.payload.waits_for, waiting.payload.calls) == ("people", ["a", "b"])
    assert waiting.wire()["payload"] == {"for": "people", "calls": ["a", "b"]}


def test_what_scripts_write_of_a_turn_and_of_the_background_is_read() -> None:
    turn = decode(3, "3-1", "r", '["run-waiting",null,{"for":"turn"}]')
    stored = '["run-waiting",null,{"for":"background","calls":["a"],"until":1764000000000}]'
    idle = decode(9, "9-1", "r", stored)

    assert isinstance(turn, RunWaiting)
    assert isinstance(idle, RunWaiting)
    assert (turn.payload.waits_for, turn.payload.calls, turn.payload.until) == ("turn", [], None)
    assert idle.payload.until == datetime(2025, 11, 24, 16, tzinfo=UTC)
    assert not turn.asks_person


def test_what_a_task_of_a_child_says_is_stored_with_the_child() -> None:
    said = encode_delta(TextDelta, "~1~2/1:model", "~1~2/txt-1.1", "a")
    inside = '{"run":"~1~2","type":"text-delta","payload":{"id":"~1~2/txt-1.1","text":"a"}}'
    assert said == f'["child","~1~2/1:model",{inside}]'
    payload = DeltaPayload(id="~1~2/txt-1.1", text="a")
    assert encode_chunk(TextDelta, "~1~2/1:model", payload) == said

    read = decode(7, "7-1", "r", said)
    assert isinstance(read, Child)
    assert (read.run_id, read.payload.run_id) == ("r", "r~1~2")
    own = child_chunk(read)
    assert isinstance(own, TextDelta)
    assert (own.seq, own.cursor, own.run_id, own.payload) == (7, "7-1", "r~1~2", payload)


@pytest.mark.parametrize(
    "stored", ['["child",null,{}]', '["child",null,7]', '["child",null,{"run":"~1","type":"x"}]']
)
def test_a_child_s_chunk_that_cannot_be_read_is_told_as_such(stored: str) -> None:
    assert str(decode(1, "1-1", "r", stored).type) == "unreadable"


def test_what_is_inside_a_child_s_chunk_may_be_unknown_or_unreadable() -> None:
    for inside, type_ in (('{"x":1}', "data-x"), ('{"id":7}', "text-delta")):
        read = decode(
            1, "1-1", "r", f'["child",null,{{"run":"~1","type":"{type_}","payload":{inside}}}]'
        )
        assert isinstance(read, Child)
        expected = type_ if type_ == "data-x" else "unreadable"
        assert (child_chunk(read).type, child_chunk(read).run_id) == (expected, "r~1")
