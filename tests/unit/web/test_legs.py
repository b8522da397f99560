"""Where the log of a run is cut into replies."""

from collections.abc import Sequence

from hypothesis import given

from evented_agent.chunks import AnyChunk, Chunk, MessageApplied, MessageQueued, StepReset
from evented_agent.web.faces.legs import Leg, LegCutter, LegEnd, is_ending, leg_of
from tests.support.chunk_logs import LogBuilder, chunk_logs


class Told:
    """A translator whose events are what it was told."""

    def begin(self, leg: Leg, _: AnyChunk) -> Sequence[object]:
        return [leg]

    def feed(self, chunk: AnyChunk) -> Sequence[object]:
        return [chunk]

    def end(self, ending: LegEnd) -> Sequence[object]:
        return ["end", ending]


def cut(chunks: Sequence[AnyChunk]) -> list[list[object]]:
    """The events of each leg."""
    cutter = LegCutter("run", Told())
    legs: dict[Leg, list[object]] = {}
    for chunk in chunks:
        for leg, event in cutter.feed(chunk):
            legs.setdefault(leg, []).append(event)
    return list(legs.values())


def types(leg: Sequence[object]) -> list[str]:
    """The types of a leg's chunks, and of its end."""
    return [event.type for event in leg if isinstance(event, Chunk)]


@given(chunk_logs())
def test_each_chunk_is_in_one_leg_and_each_leg_ends_once(log: Sequence[AnyChunk]) -> None:
    cutter = LegCutter("run", Told())
    said: list[AnyChunk] = []
    has_ended: dict[Leg, bool] = {}
    for chunk in log:
        # What a leg ends with is told behind "end", also where it is in the log no more, or in
        # the leg that follows.
        events: list[tuple[Leg, object]] = [(Leg(""), None), *cutter.feed(chunk)]
        for at, (leg, event) in enumerate(events[1:]):
            if isinstance(event, Leg):
                assert event == leg
                assert leg not in has_ended
                has_ended[leg] = False
            elif event == "end":
                assert not has_ended[leg]
                has_ended[leg] = True
            elif event not in said and (events[at][1] != "end" or is_ending(chunk)):
                said.append(event)  # type: ignore[arg-type]
    assert said == list(log[: len(said)])
    # What waits for a leg, which is still to come.
    assert not cutter.is_open or len(said) == len(log)
    assert [leg for leg, ended in has_ended.items() if not ended] == (
        [cutter.leg] if cutter.is_open else []
    )
    sent = [Leg("run", chunk.seq) for chunk in log if isinstance(chunk, MessageQueued)]
    for leg in sent:
        assert cutter.is_queued(leg) != (cutter.answer_of(leg) in has_ended)


@given(chunk_logs())
def test_a_message_is_answered_in_the_leg_in_which_the_model_first_has_it(
    log: Sequence[AnyChunk],
) -> None:
    cutter = LegCutter("run", Told())
    numbers: dict[str, int] = {}
    for chunk in log:
        cutter.feed(chunk)
        if isinstance(chunk, MessageQueued):
            numbers[chunk.payload.message_id] = chunk.seq
        if isinstance(chunk, MessageApplied):
            for id_ in chunk.payload.message_ids:
                if id_ in numbers:
                    assert cutter.answer_of(Leg("run", numbers.pop(id_))) == cutter.leg


def test_a_message_ends_the_leg_before_it_once() -> None:
    log = LogBuilder()
    log.add("start", id="a")
    log.add("message-queued", messageId="m")
    log.add("step-start", "1:end", step=2)
    applied = {"messageIds": ["m"], "step": 2}
    first = log.add("message-applied", "2:model", **applied)
    log.add("step-reset", "2:model", step=2, fromSeq=first, attempt=1, reason="crash")
    log.add("message-applied", "2:model", **applied)
    log.add("finish", stepResult={"reason": "stop"})
    before, answer = cut(log.chunks)
    assert types(before) == ["start", "message-queued", "step-start", "message-applied"]
    assert (answer[0], types(answer)) == (
        Leg("run", 2),
        ["message-applied", "step-reset", "message-applied", "finish"],
    )


def test_a_message_to_a_run_that_waits_for_people_begins_its_leg_itself() -> None:
    log = LogBuilder()
    log.add("start", id="a")
    log.add("run-waiting", **{"for": "people"}, calls=["c"])
    log.add("message-queued", messageId="m")
    log.add("tool-call-deferred", toolCallId="c", toolName="t")
    log.add("step-start", "1:end", step=2)
    log.add("message-queued", messageId="n")
    log.add("message-applied", "2:model", messageIds=["m", "n"], step=2)
    cutter = LegCutter("run", Told())
    for chunk in log.chunks:
        cutter.feed(chunk)
    assert cutter.leg == Leg("run", 3)
    assert cutter.answer_of(Leg("run", 6)) == Leg("run", 3)
    assert len(cut(log.chunks)) == 2


def test_a_message_that_waits_for_a_decision_begins_no_leg() -> None:
    log = LogBuilder()
    log.add("start", id="a")
    log.add("run-waiting", **{"for": "people"}, calls=["c"])
    log.add("message-queued", messageId="m", hold=True)
    log.add("run-waiting", **{"for": "people"}, calls=["c"])
    log.add("tool-call-decided", toolCallId="c", toolName="t", decision="approved", number=2)
    log.add("message-applied", "2:model", messageIds=["m"], step=2)
    _, decided, answer = cut(log.chunks)
    assert (decided[0], answer[0]) == (Leg("run", 5), Leg("run", 3))
    assert types(decided)[:3] == ["message-queued", "run-waiting", "tool-call-decided"]


def test_a_message_that_is_dropped_has_a_leg_that_ends_as_the_run() -> None:
    log = LogBuilder()
    log.add("start", id="a")
    log.add("message-queued", messageId="m")
    log.add("message-dropped", messageIds=["m"], reason="The run was aborted.")
    log.add("abort")
    first, dropped = cut(log.chunks)
    assert types(first)[-1] == "abort"
    assert (dropped[0], types(dropped)) == (Leg("run", 2), ["abort"])


def test_a_decision_begins_another_reply() -> None:
    log = LogBuilder()
    log.add("start", id="a")
    log.add("run-waiting", **{"for": "people"}, calls=["c"])
    log.add("tool-call-decided", toolCallId="c", toolName="t", decision="approved", number=2)
    log.add("finish", stepResult={"reason": "stop"})
    first, second = cut(log.chunks)
    assert (first[0], second[0]) == (Leg("run"), Leg("run", 3))
    assert [leg.id for leg in (Leg("run"), Leg("run", 3))] == ["run", "run:3"]


def test_a_run_that_waits_for_its_model_goes_on_in_the_same_reply() -> None:
    log = LogBuilder()
    log.add("start", id="a")
    log.add("run-waiting", **{"for": "model"})
    log.add("finish", stepResult={"reason": "stop"})
    assert len(cut(log.chunks)) == 1


def test_a_retry_ends_the_reply_that_had_failed() -> None:
    log = LogBuilder()
    log.add("start", id="a")
    reset = {"step": 1, "fromSeq": 2, "attempt": 1, "reason": "retry"}
    log.add("step-reset", "1:model", **reset, error={"name": "E", "message": "no"})
    first, second = cut(log.chunks)
    ended = first[-1]
    assert not isinstance(ended, StepReset)
    assert ended.payload.error.message == "no"  # type: ignore[attr-defined]
    assert second[0] == Leg("run", 2)


def test_ids_that_are_none_of_a_leg() -> None:
    assert leg_of("run:17") == Leg("run", 17)
    for odd in ("", ":1", "run:", "run:0", "run:x", "run:1:2", "run:-1", "run:" + "9" * 30):
        assert leg_of(odd) is None
