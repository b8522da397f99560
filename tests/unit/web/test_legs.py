"""Where the log of a run is cut into replies."""

from collections.abc import Sequence

from hypothesis import given

from evented_agent.chunks import AnyChunk, StepReset
from evented_agent.web.faces.legs import Leg, LegCutter, LegEnd, is_ending, leg_of
from tests.support.chunk_logs import LogBuilder, chunk_logs


class Told:
    """A translator whose events are what it was told."""

    def begin(self, leg: Leg) -> Sequence[object]:
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


@given(chunk_logs())
def test_each_chunk_is_in_one_leg_and_each_leg_ends_once(log: Sequence[AnyChunk]) -> None:
    legs = cut(log)
    said = [event for leg in legs for event in leg if event in log]
    assert said == list(log)
    for at, leg in enumerate(legs):
        assert isinstance(leg[0], Leg)
        assert leg.count("end") == (at < len(legs) - 1 or is_ending(log[-1]))
        assert "end" not in leg or leg.index("end") == len(leg) - 2


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
