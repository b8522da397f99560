"""A run's log as a picture: which task was queued, ran, was withdrawn, waited, and for whom.

The log has an order and no clock, so widths are no times here; `clock` draws what has times.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evented_agent.chunks import AnyChunk
from evented_agent.chunks.base import Chunk
from evented_agent.web.console.lanes import Lane, LaneOutcome

#: How wide each kind of event is. Pieces of text come by the hundred; what ends a long wait, and
#: what a tool came to, is worth looking at.
_WIDTHS: Mapping[str, float] = {
    "text-delta": 0.1,
    "reasoning-delta": 0.1,
    "tool-call-delta": 0.1,
    "object": 0.1,
    "tool-result": 2.0,
    "tool-error": 2.0,
    "background-task-completed": 2.0,
    "background-task-failed": 2.0,
    "tool-call-decided": 3.0,
    "step-reset": 2.0,
}
_WAITS_FOR = {
    "turn": "waits for its turn in the thread",
    "model": "waits before the model is asked again",
}


@dataclass(slots=True)
class Picture:
    """What is drawn.

    Attributes:
        lanes: The rows, in the order in which the log first names them.
        width: How many units the log is wide so far.
        ending: How it ended: "finish", "error" or "abort"; "" where it goes on.
        waits: What the whole run waits for, in words; "" for nothing.
        has_clock: Whether a unit is a second since the run was created.
    """

    lanes: list[Lane] = field(default_factory=list)
    width: float = 0.0
    ending: str = ""
    waits: str = ""
    has_clock: bool = False

    @property
    def attempts(self) -> Mapping[str, int]:
        """Which attempt of each task was the last that the log tells of."""
        return {lane.key: lane.attempt for lane in self.lanes}


def picture_of(chunks: Iterable[AnyChunk], run_id: str = "") -> Picture:
    """Fold the chunks of a run, from its first, into a picture.

    Those of a child, which its *run_id* tells, name tasks and calls after its branch of the tree.
    """
    artist = _Artist("".join(run_id.partition("~")[1:]))
    for chunk in chunks:
        artist.feed(chunk)
    return artist.picture


class _Artist:
    def __init__(self, branch: str) -> None:
        self.picture = Picture()
        self._prefix = f"{branch}/" if branch else ""
        self._lanes: dict[str, Lane] = {}
        self._calls: dict[str, Lane] = {}
        self._places: dict[int, float] = {}

    @property
    def _at(self) -> float:
        return self.picture.width

    def feed(self, chunk: AnyChunk) -> None:
        kind = str(chunk.type)
        self._places[chunk.seq] = self._at
        self.picture.waits = ""
        handle = _HANDLERS.get(kind)
        if handle is not None:
            handle(self, chunk)
        elif chunk.task is not None:
            self._speaks(chunk)
        self.picture.width += _WIDTHS.get(kind, 1.0)

    def _speaks(self, chunk: AnyChunk) -> None:
        lane = self._lanes.get(self._own(chunk.task))
        if lane is not None and lane.now is not None:
            lane.turn(self._at, "running")

    def begins(self, _: Chunk) -> None:
        self._model(1).turn(self._at, "queued")

    def step_begins(self, chunk: Chunk) -> None:
        self._model(chunk.payload.step).turn(self._at, "queued")

    def step_ends(self, chunk: Chunk) -> None:
        lane = self._lanes.get(f"{chunk.payload.step}:model")
        if lane is not None and lane.now is not None:
            lane.close(self._at, "done")

    def call(self, chunk: Chunk) -> None:
        model = self._lanes.get(self._own(chunk.task))
        if model is not None and model.outcome == "open":
            model.turn(self._at, "running")
            model.close(self._at + 1, "done")
        elif model is not None:
            model.extend(self._at + 1)
        self._tool(chunk).turn(self._at, "queued")

    def asks(self, chunk: Chunk) -> None:
        self._tool(chunk).turn(self._at, "people", "waits for a person")

    def decided(self, chunk: Chunk) -> None:
        lane, said = self._tool(chunk), chunk.payload
        by = f" by {said.by}" if getattr(said, "by", None) else ""
        lane.events.append(f"{getattr(said, 'decision', 'resumed')}{by}")
        # The wait was longer than what else is drawn.
        lane.turn(self._at + _WIDTHS["tool-call-decided"] - 0.5, "queued")

    def tool_ends(self, chunk: Chunk) -> None:
        outcome = _OUTCOMES[str(chunk.type)]
        lane = self._tool(chunk)
        error = getattr(chunk.payload, "error", None)
        if error is not None:
            lane.events.append(f"{error.name}: {error.message}")
        lane.close(self._at + _WIDTHS.get(str(chunk.type), 1.0), outcome)

    def in_background(self, chunk: Chunk) -> None:
        lane = self._tool(chunk)
        lane.is_background = True
        lane.turn(self._at, "running" if chunk.type.endswith(("running", "output")) else "queued")

    def reset(self, chunk: Chunk) -> None:
        lane = self._lanes.get(self._own(chunk.task))
        if lane is None:
            return
        said = chunk.payload
        since = self._places.get(said.from_seq, self._at)
        why = f"attempt {said.attempt} withdrawn: {said.reason}"
        lane.withdraw(since, self._at + 1, why)
        lane.attempt = max(lane.attempt, said.attempt + 1)
        self.picture.ending = ""

    def waits(self, chunk: Chunk) -> None:
        told = _WAITS_FOR.get(chunk.payload.waits_for, f"waits for {chunk.payload.waits_for}")
        self.picture.waits = told
        if chunk.payload.waits_for in _WAITS_FOR:
            for lane in self._lanes.values():
                if lane.kind == "model" and lane.now is not None:
                    lane.turn(self._at, "waits", told)

    def ends(self, chunk: Chunk) -> None:
        self.picture.ending = chunk.type
        outcome: LaneOutcome = "failed" if chunk.type == "error" else "cancelled"
        for lane in self._lanes.values():
            lane.close(self._at + 1, outcome)

    def _model(self, step: int) -> Lane:
        return self._lane(Lane(f"{step}:model", "model", "model", step))

    def _tool(self, chunk: Chunk) -> Lane:
        call = self._own(chunk.payload.tool_call_id)
        step = _step_of(self._own(chunk.task))
        if call in self._calls:
            return self._calls[call]
        made = Lane(f"{step}:tool:{call}", "tool", chunk.payload.tool_name, step)
        self._calls[call] = self._lane(made)
        return self._calls[call]

    def _own(self, name: str | None) -> str:
        """The name of a task or a call within its own run."""
        return str(name).removeprefix(self._prefix)

    def _lane(self, made: Lane) -> Lane:
        if made.key not in self._lanes:
            self._lanes[made.key] = made
            self.picture.lanes.append(made)
        return self._lanes[made.key]


def _step_of(task: str) -> int:
    number = task.partition(":")[0]
    return int(number) if number.isdecimal() else 0


_OUTCOMES: Mapping[str, LaneOutcome] = {
    "tool-result": "done",
    "tool-error": "failed",
    "tool-output-denied": "declined",
    "background-task-completed": "done",
    "background-task-failed": "failed",
    "background-task-cancelled": "cancelled",
}
_HANDLERS: Mapping[str, Callable[[_Artist, Any], None]] = {
    "start": _Artist.begins,
    "step-start": _Artist.step_begins,
    "step-finish": _Artist.step_ends,
    "tool-call": _Artist.call,
    "tool-call-approval": _Artist.asks,
    "tool-call-suspended": _Artist.asks,
    "background-task-suspended": _Artist.asks,
    "tool-call-decided": _Artist.decided,
    "background-task-resumed": _Artist.decided,
    "background-task-started": _Artist.in_background,
    "background-task-running": _Artist.in_background,
    "background-task-output": _Artist.in_background,
    "step-reset": _Artist.reset,
    "run-waiting": _Artist.waits,
    **dict.fromkeys(_OUTCOMES, _Artist.tool_ends),
    **dict.fromkeys(("finish", "error", "abort"), _Artist.ends),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of a row as it is drawn: places in percent of the picture's width."""

    x: float
    width: float
    state: str
    said: str
    is_live: bool


def bars_of(lane: Lane, picture: Picture) -> Sequence[Bar]:
    """The stretches of *lane*; one that goes on reaches to the right edge."""
    whole = picture.width if picture.has_clock else max(picture.width, 1.0)
    made = []
    for span in lane.spans:
        end = whole if span.end is None else min(span.end, whole)
        width = max(end - span.start, whole / 250)
        x = min(span.start, whole - width)
        is_live = span.end is None and not picture.ending
        is_last = span is lane.spans[-1] and span.end is not None
        look = lane.outcome if is_last and lane.outcome in _SHOWN else span.state
        place = round(100 * x / whole, 3), round(100 * width / whole, 3)
        made.append(Bar(*place, look, span.said or span.state, is_live))
    return made


#: What a row came to that its last stretch shows; all that is well looks as it ran.
_SHOWN = ("failed", "declined", "cancelled")
