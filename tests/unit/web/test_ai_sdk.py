"""What the log of a run becomes for clients of the AI SDK."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given

from evented_agent.chunks import (
    AnyChunk,
    StepReset,
    TextDelta,
    TextStart,
    ToolError,
    ToolResult,
    Transcript,
)
from evented_agent.client.run_stream import RunStream
from evented_agent.web.faces.ai_sdk.places import MessagePlaces
from evented_agent.web.faces.ai_sdk.replies import UiReply, _Placed, legs_of, reply_of
from evented_agent.web.faces.legs import Leg, LegCutter
from evented_agent.web.faces.replies import LegRequest, _LegEvents
from tests.support.chunk_logs import LogBuilder, chunk_logs
from tests.support.ui_messages import Event, UiClient


def events_of(reply: UiReply, chunks: Iterable[AnyChunk]) -> list[Event]:
    cutter = LegCutter(reply.leg.run_id, reply.translator())
    return [event for chunk in chunks for leg, event in cutter.feed(chunk) if leg == reply.leg]


def replies_of(chunks: Sequence[AnyChunk]) -> list[list[Event]]:
    """The events of each leg."""
    return [events_of(UiReply(leg, leg.first), chunks) for leg in legs_of("run", chunks).places]


def read(*replies: list[Event]) -> UiClient:
    client = UiClient()
    for event in (event for reply in replies for event in reply):
        client.take(event)
    return client


def read_all(replies: Iterable[list[Event]]) -> dict[str, UiClient]:
    """The messages that a client has, by their ids."""
    found: dict[str, UiClient] = {}
    for events in replies:
        client = found.setdefault(events[0]["messageId"], UiClient())
        for event in events:
            client.take(event)
    return found


def texts_of(chunks: Iterable[AnyChunk]) -> dict[str, list[str]]:
    """The parts of the text that count, by the messages in which they are."""
    cutter, places = LegCutter("run", told := _Placed(MessagePlaces("run"))), told.places
    parts: dict[str, tuple[AnyChunk, str, list[str]]] = {}
    for chunk in chunks:
        cutter.feed(chunk)
        match chunk:
            case TextStart():
                parts[chunk.payload.id] = (chunk, places.id, [])
            case TextDelta():
                parts[chunk.payload.id][2].append(chunk.payload.text)
            case StepReset():
                gone = (chunk.task, chunk.payload.from_seq)
                parts = {
                    id_: part
                    for id_, part in parts.items()
                    if part[0].task != gone[0] or part[0].seq < gone[1]
                }
    found: dict[str, list[str]] = {}
    for _, place, pieces in parts.values():
        found.setdefault(place, []).extend(filter(None, ["".join(pieces)]))
    return found


def prefixes(log: Sequence[AnyChunk]) -> Iterator[Sequence[AnyChunk]]:
    """The log up to the end of each leg, and all of it."""
    for at in range(1, len(log)):
        if legs_of("run", log[:at]).cutter.leg != legs_of("run", log[: at + 1]).cutter.leg:
            yield log[:at]
    yield log


def text_of(chunks: Iterable[AnyChunk]) -> str:
    """The text as `result().text` has it."""
    transcript = Transcript()
    for chunk in chunks:
        transcript.feed(chunk)
    return transcript.text


@given(chunk_logs())
def test_replies_obey_the_grammar_and_end_with_the_text_of_the_run(
    log: Sequence[AnyChunk],
) -> None:
    clients, legs = read_all(replies_of(log)), legs_of("run", log)
    texts = texts_of(log)
    for id_, client in clients.items():
        assert client.text == "\n\n".join(texts.get(id_, []))
        assert client.is_over or id_ == legs.places[legs.newest("run")]
    assert clients[legs.places[legs.newest("run")]].is_over is not legs.is_open


@given(chunk_logs())
def test_a_client_that_has_a_complete_reply_posts_nothing_by_itself(
    log: Sequence[AnyChunk],
) -> None:
    clients: dict[str, UiClient] = {}
    for reply in replies_of(log):
        client = clients.setdefault(reply[0]["messageId"], UiClient())
        for event in reply:
            client.take(event)
        if client.is_over and reply[-1] != {"type": "finish", "finishReason": "error"}:
            assert not client.posts_by_itself


@given(chunk_logs())
def test_a_whole_message_is_what_its_replies_add_up_to(log: Sequence[AnyChunk]) -> None:
    for upto in prefixes(log):
        whole = read(events_of(legs_of("run", upto).whole("run"), upto))
        newest = list(legs_of("run", upto).places.values())[-1]
        added = read_all(replies_of(upto))[newest]
        assert (whole.text, whole.calls) == (added.text, added.calls)


@given(chunk_logs())
def test_each_call_is_shown_with_its_outcome(log: Sequence[AnyChunk]) -> None:
    """In the message in which it was made, or where it is shown again."""
    calls = [call for client in read_all(replies_of(log)).values() for call in client.calls.items()]
    for chunk in log:
        if isinstance(chunk, ToolResult | ToolError):
            step = str(chunk.task).partition(":")[0]
            name = f"run:{step}:{chunk.payload.tool_call_id}"
            state = "output-error" if isinstance(chunk, ToolError) else "output-available"
            assert any(
                f"{call}:".startswith(f"{name}:")
                and shown["state"] == state
                and not shown["preliminary"]
                for call, shown in calls
            )


@given(chunk_logs())
def test_what_was_sent_is_sent_again_in_the_same_order(log: Sequence[AnyChunk]) -> None:
    """So that a number of events says where a reader was, whenever it asks."""
    for leg in legs_of("run", log).places:
        for begins in {leg.first, 0}:
            reply = UiReply(leg, begins)
            all_of_it = events_of(reply, log)
            for at in range(len(log) + 1):
                so_far = events_of(reply, log[:at])
                assert so_far == all_of_it[: len(so_far)]


def long_log(length: int = 250) -> Sequence[AnyChunk]:
    """Steps of some forty deltas, each begun three times, up to so many chunks."""
    log = LogBuilder()
    log.add("start", id="a")
    step = 0
    while log.seq < length - 3:
        step += 1
        log.add("step-start", f"{step - 1}:end", step=step)
        for attempt in range(1, 4):
            first = log.seq + 1
            log.add("text-start", f"{step}:model", id=f"txt-{step}.{attempt}")
            for at in range(14):
                delta = {"id": f"txt-{step}.{attempt}", "text": f"{at} "}
                log.add("text-delta", f"{step}:model", **delta)
            if attempt < 3:
                again = {"fromSeq": first, "attempt": attempt, "reason": "crash"}
                log.add("step-reset", f"{step}:model", step=step, **again)
        log.add("text-end", f"{step}:model", id=f"txt-{step}.3")
        done = {"reason": "stop", "isContinued": True}
        log.add("step-finish", f"{step}:end", step=step, stepResult=done)
    log.add("finish", f"{step}:end", stepResult={"reason": "stop"})
    return log.chunks


class KeptRun(RunStream[Any]):
    """A run whose chunks are here."""

    def __init__(self, chunks: Sequence[AnyChunk]) -> None:
        super().__init__(None, "run")
        self._chunks = chunks

    def batches(self, heartbeat: float | None = 15) -> Iterator[Sequence[AnyChunk]]:
        yield self._chunks


def followed(log: Sequence[AnyChunk], skip: int) -> list[str]:
    """What a reader is sent who has so many events."""
    reply = UiReply(Leg("run"), 0)
    request = LegRequest(reply.leg, reply.translator(), _told, skip)
    return "".join(_LegEvents(KeptRun(log), request, 15)).splitlines()


def _told(event: Event) -> str:
    # What tells the events of this log apart, and costs little: this is called for each at each.
    return f"{event.get('delta') or event.get('id') or event['type']}\n"


def test_a_long_reply_is_resumed_at_every_event() -> None:
    """A client that was cut off at any event gets the others, and no other."""
    log = long_log()
    assert sum(isinstance(chunk, StepReset) for chunk in log) > 8
    uncut = followed(log, 0)
    assert len(uncut) > 250

    for had in range(len(uncut)):
        assert followed(log, had) == uncut[had:]
    assert read(events_of(UiReply(Leg("run"), 0), log)).text == text_of(log)


class _Log(LogBuilder):
    """A log that is written by hand."""

    def began(self, step: int = 1) -> "_Log":
        if step == 1:
            self.add("start", id="a")
        self.add("step-start", f"{step - 1}:end" if step > 1 else None, step=step)
        return self

    def calls(self, *names: str, step: int = 1) -> "_Log":
        for name in names:
            call = {"toolCallId": name, "toolName": "look"}
            self.add("tool-call-input-streaming-start", f"{step}:model", **call)
            self.add("tool-call", f"{step}:model", **call, args={"x": 1})
        return self

    def about(self, type_: str, name: str, step: int = 1, **more: Any) -> int:
        call = {"toolCallId": name, "toolName": "look"}
        task = None if type_ == "tool-call-decided" else f"{step}:tool:{name}"
        return self.add(type_, task, **call, **more)

    def waits(self) -> "_Log":
        self.add("run-waiting", **{"for": "people"})
        return self

    def says(self, step: int, text: str, *messages: str) -> "_Log":
        if messages:
            applied = {"messageIds": list(messages), "step": step}
            self.add("message-applied", f"{step}:model", **applied)
        id_ = f"txt-{step}.{self.seq}"
        self.add("text-start", f"{step}:model", id=id_)
        self.add("text-delta", f"{step}:model", id=id_, text=text)
        self.add("text-end", f"{step}:model", id=id_)
        return self

    def ends(self, step: int, reason: str = "tool-calls") -> "_Log":
        result = {"reason": reason, "isContinued": False}
        self.add("step-finish", f"{step}:end", step=step, stepResult=result)
        return self


def types(events: Sequence[Event]) -> list[str]:
    return [event["type"] for event in events]


def test_a_run_that_ends_with_calls_has_an_empty_text_behind_them() -> None:
    log = _Log().began().calls("c")
    log.about("tool-result", "c", result=1)
    log.ends(1).add("finish", stepResult={"reason": "tool-calls"})
    [events] = replies_of(log.chunks)
    assert types(events)[-6:] == [
        "finish-step",
        "start-step",
        "text-start",
        "text-end",
        "finish-step",
        "finish",
    ]
    assert events[-1]["finishReason"] == "stop"


def test_a_step_in_which_a_model_says_nothing_is_none_for_the_client() -> None:
    """It shows the step before as the last one, whose calls are complete."""
    log = _Log().began().calls("c")
    log.about("tool-result", "c", result=1)
    log.ends(1).began(2).ends(2, "stop").add("finish", stepResult={"reason": "stop"})
    client = read(*replies_of(log.chunks))
    assert client.is_over
    assert not client.posts_by_itself


def test_a_call_id_that_comes_in_two_steps_names_two_calls() -> None:
    log = _Log().began().calls("c")
    log.about("tool-result", "c", result="one")
    log.ends(1).began(2).calls("c", step=2)
    log.about("tool-result", "c", step=2, result="two")
    calls = read(*replies_of(log.chunks)).calls
    assert [call["output"] for call in calls.values()] == ["one", "two"]


def test_a_decision_made_elsewhere_leaves_the_other_question_in_the_last_step() -> None:
    """There alone the client looks before it posts what was decided."""
    log = _Log().began().calls("a", "b")
    numbers = [log.about("tool-call-approval", name) for name in "ab"]
    log.waits()
    log.about("tool-call-decided", "a", decision="approved", approved=True, number=numbers[0])
    log.about("tool-result", "a", result="done")
    log.waits()
    client = read(*replies_of(log.chunks))
    states = [part["state"] for part in client.last_step if part["type"] == "dynamic-tool"]
    assert states == ["output-available", "approval-requested"]


def test_a_tool_that_asks_twice_takes_the_first_answer_from_its_call() -> None:
    log = _Log().began().calls("c")
    first = log.about("tool-call-suspended", "c", args={"x": 1}, suspendPayload={"at": 1})
    log.waits()
    log.about("tool-call-decided", "c", decision="answered", number=first)
    second = log.about("tool-call-suspended", "c", args={"x": 1}, suspendPayload={"at": 2})
    log.waits()
    one, two = replies_of(log.chunks)
    client = read(one)
    client.answer("run:1:c", "yes")
    for event in two:
        client.take(event)
    assert "tool-input-available" in types(two)
    assert client.calls["run:1:c"]["state"] == "input-available"
    questions = [part["id"] for part in client.parts if part["type"] == "data-suspended"]
    assert questions == [f"run:{first}", f"run:{second}"]


def test_what_others_told_meanwhile_outlives_the_reset_of_a_step() -> None:
    log = _Log().began().calls("bg")
    named = {"taskId": "run:bg", "toolCallId": "bg", "toolName": "look"}
    log.add("background-task-started", "1:model", **named, args={})
    log.ends(1).began(2)
    log.add("text-start", "2:model", id="txt")
    number = log.about("tool-call-approval", "bg")
    log.about("tool-call-decided", "bg", decision="approved", approved=True, number=number)
    reset = {"fromSeq": log.seq - 2, "attempt": 1, "reason": "crash"}
    log.add("step-reset", "2:model", step=2, **reset)
    client = read(*replies_of(log.chunks))
    kinds = [part["type"] for part in client.parts]
    assert kinds == ["step-start", "dynamic-tool", "data-background", "step-start", "data-decided"]


def test_the_reset_of_a_tool_or_of_an_older_step_takes_nothing_back() -> None:
    log = _Log().began().calls("c")
    first = log.about("tool-output", "c", output={"at": 1})
    reset = {"step": 1, "fromSeq": first, "attempt": 1, "reason": "crash"}
    log.add("step-reset", "1:tool:c", **reset, toolCallId="c")
    [events] = replies_of(log.chunks)
    assert "reset-step" not in types(events)


def test_a_retry_takes_the_half_said_answer_back_and_goes_on_in_the_same_message() -> None:
    log = _Log().began()
    log.add("text-start", "1:model", id="one")
    log.add("text-delta", "1:model", id="one", text="Half")
    reset = {"step": 1, "fromSeq": 3, "attempt": 1, "reason": "retry"}
    log.add("step-reset", "1:model", **reset, error={"name": "E", "message": "no"})
    log.add("text-start", "1:model", id="two")
    log.add("text-delta", "1:model", id="two", text="Whole.")
    log.add("text-end", "1:model", id="two")
    log.ends(1, "stop").add("finish", stepResult={"reason": "length"})
    first, second = replies_of(log.chunks)
    assert first[-2:] == [
        {"type": "error", "errorText": "no"},
        {"type": "finish", "finishReason": "error"},
    ]
    assert types(second)[:3] == ["start", "reset-step", "start-step"]
    assert second[-1]["finishReason"] == "length"
    whole = events_of(UiReply(Leg("run", 5), 0), log.chunks)
    assert "error" not in types(whole)
    assert read(whole).text == "Whole."


def put_off() -> _Log:
    """A call that waits for a person, and a message that is answered meanwhile."""
    log = _Log().began().calls("c")
    log.about("tool-call-approval", "c")
    log.waits().add("message-queued", messageId="m")
    log.add("tool-call-deferred", toolCallId="c", toolName="look")
    log.ends(1).began(2)
    return log.says(2, "Meanwhile.", "m")


def test_a_message_is_answered_in_a_message_of_its_own() -> None:
    log = put_off().ends(2, "stop").waits()
    asks, answers = replies_of(log.chunks)
    queued = next(chunk.seq for chunk in log.chunks if chunk.type == "message-queued")
    assert answers[0]["messageId"] == f"run:{queued}"
    assert answers[0]["messageMetadata"] == {"runId": "run"}
    assert types(asks)[-2:] == ["finish-step", "finish"]
    assert read(answers).text == "Meanwhile."
    told = [event["data"]["status"] for event in answers if event["type"] == "data-message"]
    assert told == ["queued", "applied"]


def test_a_decision_afterwards_goes_on_in_the_message_that_asked() -> None:
    log = put_off().ends(2, "stop").waits()
    asked = next(chunk.seq for chunk in log.chunks if chunk.type == "tool-call-approval")
    log.about("tool-call-decided", "c", decision="approved", approved=True, number=asked)
    log.about("tool-result", "c", result="done")
    log.began(3).says(3, "News.").ends(3, "stop").add("finish", stepResult={"reason": "stop"})
    messages = read_all(replies_of(log.chunks))
    first, second = messages.values()
    assert (first.text, second.text) == ("News.", "Meanwhile.")
    assert first.calls["run:1:c"]["state"] == "output-available"
    legs = legs_of("run", log.chunks)
    since, whole = legs.since("run", [asked]), legs.whole("run")
    assert since is not None
    assert (since.leg, whole.begins) == (legs.newest("run"), 0)
    assert read(events_of(whole, log.chunks)).text == "News."


def test_a_decision_while_another_message_is_answered_is_shown_there() -> None:
    log = put_off()
    asked = next(chunk.seq for chunk in log.chunks if chunk.type == "tool-call-approval")
    log.about("tool-call-decided", "c", decision="approved", approved=True, number=asked)
    log.ends(2, "stop")
    log.about("tool-result", "c", result="done")
    log.began(3).says(3, "News.").ends(3, "stop").add("finish", stepResult={"reason": "stop"})
    first, second = read_all(replies_of(log.chunks)).values()
    assert first.calls["run:1:c"]["state"] == "approval-requested"
    [call] = second.calls.values()
    assert (call["toolName"], call["input"], call["output"]) == ("look", {"x": 1}, "done")
    assert second.text == "Meanwhile.\n\nNews."
    assert not second.posts_by_itself
    assert legs_of("run", log.chunks).since("run", [asked]) is None


def test_a_call_that_is_shown_again_outlives_the_reset_of_a_model() -> None:
    log = put_off().ends(2, "stop").began(3)
    first = log.add("text-start", "3:model", id="one")
    log.about("tool-result", "c", result="done")
    reset = {"step": 3, "fromSeq": first, "attempt": 1, "reason": "crash"}
    log.add("step-reset", "3:model", **reset)
    log.says(3, "News.").ends(3, "stop").add("finish", stepResult={"reason": "stop"})
    _, second = read_all(replies_of(log.chunks)).values()
    assert [call["output"] for call in second.calls.values()] == ["done"]
    assert second.text == "Meanwhile.\n\nNews."


def test_an_answer_that_is_cut_short_says_so() -> None:
    log = _Log().began().says(1, "Half")
    call = {"toolCallId": "c", "toolName": "look"}
    log.add("tool-call-input-streaming-start", "1:model", **call)
    log.add("message-queued", messageId="m", interrupt=True)
    log.add("tool-call-dropped", "1:model", **call)
    log.ends(1, "interrupted").began(2).says(2, "Whole.", "m")
    cut, _ = replies_of(log.chunks)
    assert cut[-1] == {"type": "finish", "finishReason": "interrupted"}
    client = read(cut)
    assert client.calls["run:1:c"]["state"] == "output-error"
    assert (client.text, client.posts_by_itself) == ("Half", False)


def test_a_message_that_nothing_answers_ends_as_its_run() -> None:
    log = _Log().began().says(1, "Half")
    number = log.add("message-queued", messageId="m")
    log.add("message-dropped", messageIds=["m"], reason="The run was aborted.")
    log.add("abort", reason="enough")
    reply = UiReply(Leg("run", number), number)
    assert events_of(reply, log.chunks) == [
        {
            "type": "start",
            "messageId": f"run:{number}",
            "messageMetadata": {"runId": "run"},
        },
        {"type": "abort", "reason": "enough"},
        {"type": "finish", "finishReason": "other"},
    ]
    legs = legs_of("run", log.chunks)
    assert legs.has(reply.leg)
    assert legs.newest("run") == Leg("run")


def test_words_of_the_protocol_for_what_is_no_text() -> None:
    log = _Log().began()
    log.add("object", "1:model", object={"a": 1})
    log.add("source", "1:model", url="https://a.example", title="A")
    log.add("source", "1:model", data={"file": "x"})
    log.add("data-mine", "1:model", at=1)
    log.add("newer-than-this", "1:model", at=1)
    log.add("run-waiting", **{"for": "model"}, until="2030-01-01T00:00:00Z")
    log.add("background-task-progress", "1:end", taskIds=["run:c"], runningCount=1)
    [events] = replies_of(log.chunks)
    assert events[2:] == [
        {"type": "data-object", "data": {"a": 1}, "transient": True},
        {"type": "source-url", "sourceId": "source-4", "url": "https://a.example", "title": "A"},
        {"type": "data-source", "data": {"data": {"file": "x"}}},
        {"type": "data-mine", "data": {"at": 1}},
        {
            "type": "data-waiting",
            "data": {"for": "model", "calls": [], "until": "2030-01-01T00:00:00Z"},
            "transient": True,
        },
        {
            "type": "data-background-progress",
            "data": {"taskIds": ["run:c"], "runningCount": 1},
            "transient": True,
        },
    ]
    read(events)


@pytest.mark.parametrize(
    ("id_", "reply"),
    [
        ("run", UiReply(Leg("run"), 0)),
        ("run:7", UiReply(Leg("run", 7), 7)),
        ("run:0-7", UiReply(Leg("run", 7), 0)),
        ("run:9-7", UiReply(Leg("run", 7), 9)),
        ("run:5-0", UiReply(Leg("run"), 5)),
    ],
)
def test_ids_of_replies_are_read_back(id_: str, reply: UiReply) -> None:
    assert reply_of(id_) == reply
    assert reply.id == id_


@pytest.mark.parametrize("id_", ["", ":1", "run:", "run:x", "run:1:2", "run:-1", "run:" + "9" * 30])
def test_ids_that_are_none_of_a_reply(id_: str) -> None:
    assert reply_of(id_) is None
