"""Follows one run on the screen, and kills the worker that speaks in the middle of its answer.

Only reads: what it knows of the run comes from the run's chunks and from `get`.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from evented_agent import Chunk, EventedAgent
from evented_agent.chunks import (
    BackgroundTaskOutput,
    BackgroundTaskStarted,
    StepReset,
    TextDelta,
    TextStart,
    ToolCallRequested,
    ToolError,
    ToolOutput,
    ToolResult,
    Transcript,
)
from evented_agent.cli.demo.processes import DemoProcess
from evented_agent.cli.demo.screen import Screen

#: An answer of so many words is the long one, and only begun.
KILL_AFTER_WORDS = 90
#: Seconds without a chunk after which the demo gives up.
_SILENCE = 120.0


@dataclass(slots=True)
class Story:
    """What a reader that stayed from the first chunk to the last has seen; times are monotonic."""

    text: str = ""
    killed: DemoProcess | None = None
    killed_at: float = 0.0
    withdrawn_at: float | None = None
    resumed_at: float | None = None
    withdrawn: int = 0

    @property
    def recovery(self) -> float | None:
        """Seconds from the kill to the first word of the worker that took over."""
        return None if self.resumed_at is None else self.resumed_at - self.killed_at


@dataclass(slots=True)
class StoryFollower:
    """Shows the run's chunks as they come."""

    librarian: EventedAgent
    workers: Sequence[DemoProcess]
    screen: Screen
    kill: bool
    story: Story = field(default_factory=Story)
    _run_id: str = ""
    _part: str = ""
    _late: str = ""
    _deltas: list[tuple[str | None, int]] = field(default_factory=list)
    _pids: dict[str, int] = field(default_factory=dict)
    _transcript: Transcript = field(default_factory=Transcript)

    def follow(self, run_id: str) -> Story:
        """Read the run to its end.  Raises `TimeoutError` when nothing comes for 2 minutes."""
        self._run_id = run_id
        for chunk in self.librarian.observe(run_id, timeout=_SILENCE):
            self._transcript.feed(chunk)
            self._show(chunk)
        # Words of the dead worker that were not withdrawn: its answer was complete already.
        self.screen.say(self._late)
        self.screen.pause()
        self.story.text = self._transcript.text
        return self.story

    def _show(self, chunk: Chunk) -> None:
        match chunk:
            case TextStart():
                self._begin()
            case TextDelta():
                self._say(chunk)
            case StepReset():
                self._withdraw(chunk)
            case _:
                self._show_call(chunk)

    def _show_call(self, chunk: Chunk) -> None:
        match chunk:
            case ToolCallRequested(payload=call):
                arguments = ", ".join(f"{k}={json.dumps(v)}" for k, v in call.arguments.items())
                self.screen.short(f"  → {call.tool_name}({arguments})", "cyan")
            case BackgroundTaskStarted(payload=started):
                self.screen.short(f"  ⧗ {started.tool_name} runs in the background", "cyan")
            case BackgroundTaskOutput(payload=payload):
                self._pids[payload.tool_call_id] = payload.output["pid"]
            case ToolOutput(payload=output):
                self._pids[output.tool_call_id] = output.output["pid"]
            case ToolResult(payload=done):
                who = self._named(self._pids[done.tool_call_id])
                self.screen.short(f"  ← {done.tool_name} at {who}: {_told(done.result)}", "dim")
            case ToolError(payload=failed):
                error = failed.error
                self.screen.short(f"  ← {failed.tool_name}: {error.name}: {error.message}", "red")

    def _begin(self) -> None:
        pid = self._speaker()
        who = self._named(pid) if pid else "a worker"
        story = self.story
        if story.withdrawn_at is not None and story.resumed_at is None:
            story.resumed_at = time.monotonic()
            self.screen.line(
                f"  ✓ {who} takes over {story.recovery:.1f} s after the kill, and answers anew:",
                "green",
            )
        else:
            self.screen.line(f"  {who}:", "bold")
        self._part = ""

    def _say(self, chunk: TextDelta) -> None:
        self._deltas.append((chunk.task, chunk.seq))
        self._part += chunk.payload.text
        if self.story.killed is None or self.story.withdrawn_at is not None:
            self.screen.say(chunk.payload.text)
        else:
            self._late += chunk.payload.text
        if self.kill and not self.story.killed and len(self._part.split()) >= KILL_AFTER_WORDS:
            self._kill()

    def _kill(self) -> None:
        pid = self._speaker()
        child = next((worker for worker in self.workers if worker.pid == pid), None)
        if child is None:
            return
        self.story.killed_at = time.monotonic()
        child.kill()
        self.story.killed = child
        self.screen.line()
        self.screen.line(
            f"  ✗ kill -9 {pid}: {child.name} is dead, in the middle of its sentence.", "red"
        )
        self.screen.line("    Its lease (3 s) has to run out before another may take over …", "dim")

    def _withdraw(self, chunk: StepReset) -> None:
        payload = chunk.payload
        gone = [d for d in self._deltas if d[0] == chunk.task and d[1] >= payload.from_seq]
        self._deltas = [delta for delta in self._deltas if delta not in gone]
        text = f"  ↺ attempt {payload.attempt} withdrawn ({payload.reason}): {len(gone)} tokens"
        is_answer = payload.tool_call_id is None
        if is_answer and self.story.killed is not None and self.story.withdrawn_at is None:
            self.story.withdrawn_at = time.monotonic()
            self.story.withdrawn = len(gone)
            self._late = ""
            text += f", {self.story.withdrawn_at - self.story.killed_at:.1f} s after the kill"
        self.screen.line(text, "yellow")

    def _speaker(self) -> int | None:
        """The pid of the worker that runs a task of the run now."""
        owner = self.librarian.get(self._run_id).worker
        return int(owner.rpartition("/")[2]) if owner else None

    def _named(self, pid: int) -> str:
        name = next((worker.name for worker in self.workers if worker.pid == pid), "?")
        return f"{name} (pid {pid})"


def _told(result: object) -> str:
    if isinstance(result, list):
        return f"{len(result)} found"
    return result if isinstance(result, str) else json.dumps(result)
