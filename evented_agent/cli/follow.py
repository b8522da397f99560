"""Follows a run live: its text on stdout, its tools and its troubles on stderr.

Only reads: whoever stops following leaves the run running.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

import click

from evented_agent.chunks import (
    Chunk,
    RunWaiting,
    StepReset,
    TextUpdate,
    ToolCallDecided,
    ToolCallRequested,
    ToolError,
    ToolOutput,
    ToolResult,
    TopicReset,
    Transcript,
)
from evented_agent.cli.choices import Choices
from evented_agent.cli.output import Printer, call_line, json_line, printable, short
from evented_agent.client.follow import Cursor
from evented_agent.client.reader import Reader
from evented_agent.client.runs import Runs
from evented_agent.errors import LedgerUnavailable
from evented_agent.state.run_info import RunInfo

#: Seconds of silence after which to look what the run waits for.
_SILENCE = 3.0
#: What a run waits for, where nothing else tells that as it begins.
_WAITS = {
    "turn": "~ Waits for its turn in the thread.",
    "background": "~ Waits for calls in the background.",
}
#: The exit code of whoever was interrupted by Ctrl-C.
_INTERRUPTED = 130


class Typewriter:
    """Prints a text that can be withdrawn on paper that cannot.

    What was withdrawn stays on the paper. As long as the new attempt says the same again, nothing
    is printed; where it says something else, that is printed in a paragraph of its own.
    """

    def __init__(self) -> None:
        self._printed = ""
        self._kept = ""
        self._is_behind = False

    def type(self, part: TextUpdate) -> str:
        """What to print for a change of the text."""
        if part.reset:
            self._kept, self._is_behind = part.snapshot, True
            return ""
        if not self._is_behind:
            self._printed = part.snapshot
            return part.delta
        if self._printed.startswith(part.snapshot):
            return ""
        return self._catch_up(part.snapshot)

    def finish(self, text: str) -> str:
        """What is left to print when *text* was the last word."""
        if not self._is_behind or text == self._printed:
            return ""
        return self._catch_up(text)

    def _catch_up(self, text: str) -> str:
        self._is_behind = False
        printed, self._printed = self._printed, text
        if text.startswith(printed):
            return text[len(printed) :]
        kept = self._kept if text.startswith(self._kept) else ""
        return "\n\n" + text[len(kept) :].lstrip("\n")


class Follower:
    """Shows one run until it ends; *cursor* is where it has got to."""

    def __init__(self, choices: Choices, run_id: str, after: Cursor = 0) -> None:
        self.cursor = after
        self._choices = choices
        self._output: Printer = choices.output
        self.run_id = run_id
        self._transcript = Transcript()
        self._typewriter = Typewriter()
        self._waits_for: str | None = None
        self._is_showing = False
        self._is_interrupted = False

    def follow(self, runs: Runs) -> RunInfo:
        """Show the run to its end; its state then.  Raises what `Runs.observe` does."""
        with self._interruptible():
            for chunk in Reader(runs.keys, runs.ledger, self.run_id).chunks(
                self.cursor, heartbeat=_SILENCE
            ):
                if chunk is None:
                    self._look(runs)
                else:
                    self._show_whole(chunk)
        self._output.text(self._typewriter.finish(self._transcript.text))
        self._output.end_text()
        return runs.get(self.run_id)

    def detach(self) -> NoReturn:
        """Leave the run running, and say how to come back."""
        after = [] if str(self.cursor).startswith("0") else ["--after", str(self.cursor)]
        again = self._choices.again("runs", "watch", self.run_id, *after)
        self._output.end_text()
        self._output.warn(f"Detached: run {self.run_id} goes on. Come back with: {again}")
        raise click.exceptions.Exit(_INTERRUPTED)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C come between two chunks, so that `cursor` is what was shown last."""
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, *_: object) -> None:
        # The second Ctrl-C does not wait: whoever reads our output may have stopped to.
        if self._is_interrupted or not self._is_showing:
            raise KeyboardInterrupt
        self._is_interrupted = True

    def _show_whole(self, chunk: Chunk) -> None:
        self._is_showing = True
        self._show(chunk)
        self.cursor = chunk.cursor
        self._is_showing = False
        if self._is_interrupted:
            raise KeyboardInterrupt

    def _look(self, runs: Runs) -> None:
        try:
            waits_for = runs.get(self.run_id).waiting_for
            if waits_for is None and not runs.workers():
                # No worker is left to notice that the one that ran it is gone.
                waits_for = (
                    f"a worker, and none is alive; start one with: {self._choices.start_worker}"
                )
        except LedgerUnavailable as error:
            waits_for = f"Redis: {error}"
        if waits_for is not None and waits_for != self._waits_for:
            self._output.note(self._choices.pasted(f"Run {self.run_id} waits for {waits_for}"))
        self._waits_for = waits_for

    def _show(self, chunk: Chunk) -> None:
        if self._output.is_json:
            self._output.line(json_line(chunk.json_line()))
            return
        if (part := self._transcript.feed(chunk)) is not None:
            self._output.text(self._typewriter.type(part))
        if (note := _note_of(chunk)) is not None:
            self._output.note(note)


def judge(choices: Choices, info: RunInfo) -> NoReturn:
    """Say how the run ended, and exit: 0 if it did not fail."""
    output = choices.output
    if info.status == "failed":
        error = f" {info.error.name}: {info.error.message}" if info.error else ""
        output.warn(printable(f"Run {info.run_id} failed.{error}"))
    elif info.status == "aborted":
        output.warn(f"Run {info.run_id} was aborted.")
    else:
        tokens = f", {info.usage.total_tokens} tokens" if info.usage.total_tokens else ""
        reason = f" ({info.finish_reason})" if info.finish_reason else ""
        output.note(f"Run {info.run_id} {info.status}{reason} in step {info.step}{tokens}.")
    for pending in info.pending:
        verb, *answer = ("approve",) if pending.kind == "approval" else ("resume", "JSON")
        which = ["--call", pending.tool_call_id] if len(info.pending) > 1 else []
        how = choices.again("runs", verb, info.run_id, *answer, *which)
        call = call_line(pending.tool_name, dict(pending.arguments), is_whole=True)
        output.note(f"{call} waits: {how}{' (or decline)' if verb == 'approve' else ''}")
    raise click.exceptions.Exit(1 if info.status in ("failed", "aborted") else 0)


def _note_of(chunk: Chunk) -> str | None:
    """A line about what a tool does, what the run waits for, or what was withdrawn."""
    note: str | None = None
    match chunk:
        case ToolCallRequested(payload=call):
            note = call_line(call.tool_name, call.arguments)
        case ToolCallDecided(payload=decided):
            by = f" by {decided.by}" if decided.by else ""
            note = f"= {decided.tool_name} ({decided.tool_call_id}) was {decided.decision}{by}"
        case ToolOutput(payload=payload):
            note = f"  {payload.tool_name}: {short(payload.output)}"
        case ToolResult(payload=done):
            note = f"< {done.tool_name}: {short(done.result)}"
        case ToolError(payload=failed):
            note = f"! {failed.tool_name}: {failed.error.name}: {short(failed.error.message)}"
        case _:
            note = _note_of_run(chunk)
    return note


def _note_of_run(chunk: Chunk) -> str | None:
    match chunk:
        case RunWaiting(payload=waiting):
            return _WAITS.get(waiting.waits_for)
        case StepReset(payload=reset, task=task):
            return f"~ Attempt {reset.attempt} of {task} ended early ({reset.reason}); once more."
        case TopicReset(payload=reset):
            return f"~ {reset.reason}"
    return None
