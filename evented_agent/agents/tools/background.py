"""Background calls: what a tool, an agent and a model may choose, and what comes of it.  Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from evented_agent.durations import Duration, as_seconds, is_positive
from evented_agent.errors import DeclarationError

Disposition = Literal["deferred", "awaited"]
WhenFull = Literal["queue", "reject", "foreground"]

#: The argument in which a model chooses; tools never see it.
ARGUMENT = "_background"
#: Seconds that a model may give a call whose declaration sets no limit: a day.
MOST_WISHED = 24 * 3600.0
#: What a model is told of it.
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": (
        "Optional. How to run this call: 'foreground' waits for its result; 'deferred' returns at "
        "once, and you are told when it has completed; 'awaited' is run apart and waited for."
    ),
    "properties": {
        "disposition": {"type": "string", "enum": ["foreground", "deferred", "awaited"]},
        "timeout": {"type": "number", "description": "Seconds that the call may take."},
        "retries": {"type": "integer", "description": "How often to try again if it fails."},
    },
}


@dataclass(frozen=True, slots=True)
class Background:
    """How calls of a tool run in the background.

    Attributes:
        disposition: "deferred" goes on at once with a placeholder, "awaited" waits for the result.
        timeout: Seconds, or a timedelta, that a call may take, instead of the tool's.
        retries: How often a failed call is tried again, instead of the tool's.
        wait_timeout: Seconds, or a timedelta, that a run without ``until_idle`` waits at its end
            for deferred calls.
        key: A function of the arguments; calls with the same key count against *key_concurrency*.
        key_concurrency: How many calls with the same key run at a time.
        when_full: Where a limit is reached: "queue", "reject" or run in the "foreground".
    """

    disposition: Disposition = "deferred"
    timeout: Duration | None = None
    retries: int | None = None
    wait_timeout: Duration = 60.0
    key: Callable[[Mapping[str, Any]], str] | None = None
    key_concurrency: int = 1
    when_full: WhenFull = "queue"

    def __post_init__(self) -> None:
        """Raises `DeclarationError` for what could not work."""
        if self.disposition not in ("deferred", "awaited"):
            raise _refusal("disposition", self.disposition, "'deferred' or 'awaited'")
        if self.when_full not in ("queue", "reject", "foreground"):
            raise _refusal("when_full", self.when_full, "'queue', 'reject' or 'foreground'")
        if self.timeout is not None and not is_positive(as_seconds(self.timeout)):
            raise _refusal("timeout", self.timeout, "seconds above 0, or None")
        if not is_positive(as_seconds(self.wait_timeout)):
            raise _refusal("wait_timeout", self.wait_timeout, "seconds above 0")
        if self.retries is not None and (type(self.retries) is not int or self.retries < 0):
            raise _refusal("retries", self.retries, "a whole number from 0 up, or None")
        if type(self.key_concurrency) is not int or self.key_concurrency < 1:
            raise _refusal("key_concurrency", self.key_concurrency, "a whole number from 1 up")
        if self.key is not None and not callable(self.key):
            raise _refusal("key", self.key, "a function of the arguments that returns a text")


def checked_background(declared: Any, where: str) -> Background | None:
    """What ``background=`` means: True for the defaults, False or None for never."""
    if declared is None or declared is False:
        return None
    if declared is True:
        return Background()
    if isinstance(declared, Background):
        return declared
    raise DeclarationError(f"{where}: background={declared!r}. Use True, False or Background(…).")


def chosen_background(
    allowed: Background | None,
    wish: Mapping[str, Any] | None,
    *,
    timeout: float | None = None,
    retries: int = 0,
) -> Background | None:
    """What becomes of one call: the model's *wish* counts within what is *allowed*.

    None for a call in the foreground. A model cannot send a call to the background whose tool does
    not go there, nor give it more time or tries than its declaration does: the background's own
    limits, else the tool's *timeout* (seconds) and *retries*; never more than a day.
    """
    if allowed is None or not wish:
        return allowed
    disposition = wish.get("disposition", allowed.disposition)
    if disposition == "foreground" or wish.get("enabled") is False:
        return None
    made = allowed
    if disposition in ("deferred", "awaited"):
        made = replace(made, disposition=disposition)
    time, tries = as_seconds(wish.get("timeout")), wish.get("retries")
    if is_positive(time):
        limit = timeout if allowed.timeout is None else as_seconds(allowed.timeout)
        made = replace(made, timeout=min(time, MOST_WISHED if limit is None else limit))
    if type(tries) is int and tries >= 0:
        most = retries if allowed.retries is None else allowed.retries
        made = replace(made, retries=min(tries, most))
    return made


def _refusal(option: str, given: Any, allowed: str) -> DeclarationError:
    return DeclarationError(f"Background({option}={given!r}): use {allowed}.")
