"""What `listen` calls: one callback a kind of chunk, whose mistakes cannot end the reading."""

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict, cast

from evented_agent.agents.callbacks import is_async
from evented_agent.chunks import (
    Abort,
    Chunk,
    Error,
    Finish,
    StepFinish,
    ToolCallApproval,
    ToolCallSuspended,
)
from evented_agent.errors import DeclarationError
from evented_agent.given import check_names
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Takes a chunk; what it returns is ignored, or awaited by `AsyncRunStream` if it can be.
Callback = Callable[[Any], Any]


class Callbacks(TypedDict, total=False):
    """What `listen` calls, each with one chunk; an exception of theirs is logged.

    Attributes:
        on_chunk: Each chunk.
        on_step_finish: The end of each step (`StepFinish`).
        on_suspended: A call that begins to wait for a person (`ToolCallApproval`,
            `ToolCallSuspended`).
        on_finish: The end of a run that finished (`Finish`).
        on_error: The end of a run that failed (`Error`).
        on_abort: The end of a run that was aborted (`Abort`).
    """

    on_chunk: Callback
    on_step_finish: Callback
    on_suspended: Callback
    on_finish: Callback
    on_error: Callback
    on_abort: Callback


_KINDS: dict[str, type[Chunk] | tuple[type[Chunk], ...]] = {
    "on_chunk": Chunk,
    "on_step_finish": StepFinish,
    "on_suspended": (ToolCallApproval, ToolCallSuspended),
    "on_finish": Finish,
    "on_error": Error,
    "on_abort": Abort,
}


def check_callbacks(callbacks: Callbacks, *, may_await: bool) -> dict[str, Callback]:
    """The callbacks by name; refuses names that are none, and what nobody would await."""
    check_names("listen()", callbacks, _KINDS)
    chosen = cast(dict[str, Callback], callbacks)
    for name, callback in chosen.items():
        if not callable(callback):
            raise DeclarationError(f"{name}={callback!r}: pass a function that takes a chunk.")
        if is_async(callback) and not may_await:
            raise DeclarationError(
                f"{name}={callback!r} is async, and nobody awaits it here. Pass a def, or listen "
                "to (await evented.aobserve(run_id))."
            )
    return chosen


def callbacks_for(callbacks: dict[str, Callback], chunk: Chunk) -> list[Callback]:
    return [call for name, call in callbacks.items() if isinstance(chunk, _KINDS[name])]


def call_back(callback: Callback, chunk: Chunk) -> Any:
    try:
        return callback(chunk)
    except Exception:
        # A listener's mistake must not end the reading, and cannot concern the run.
        logger.exception("A callback failed on chunk %d of run %s", chunk.seq, chunk.run_id)
        return None


async def settle(answer: Any) -> None:
    try:
        await answer
    except asyncio.CancelledError:
        raise
    except Exception:
        logger.exception("An async callback failed")
