"""How the engine treats the calls of a tool: the options of `tool`, checked, as it needs them.

A new option is a field of `ToolOptions` (what users write) and of `ToolPolicy` (its default, its
check), and an entry of `ToolPolicy.stored` where a worker or a script has to know it later.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from evented_agent.agents.tools.approvals import ApprovalPolicy
from evented_agent.agents.tools.background import Background, checked_background
from evented_agent.agents.tools.schema import place_of, refusal
from evented_agent.durations import Duration, as_seconds, in_seconds, is_positive
from evented_agent.errors import DeclarationError
from evented_agent.given import as_stored_count, check_names

OnCrash = Literal["rerun", "ask", "fail"]
OnExpiry = Literal["decline", "fail"]
#: Seconds that a suspended call waits for a person, unless its tool says otherwise: 90 days.
EXPIRY = 90 * 24 * 3600.0


class ToolOptions(TypedDict, total=False):
    """What `tool` takes beside a name and a description.

    Attributes:
        timeout: Seconds, or a timedelta, after which a call fails; None, the default, for no limit.
        retries: How often a failed call is tried again before the model is told; 0, unless given.
            A call that returned has not failed, whatever becomes of its result.
        on_crash: What becomes of a call whose worker died or was stopped: "rerun" (the default)
            makes it again with the same ``ctx.idempotency_key``, "ask" asks a person, "fail" tells
            the model that it was interrupted.
        isolate: Run a ``def`` in a child process, which can be killed; False, unless given.
        requires_approval: True where each call waits until a person approves or declines it, or a
            function of an `ApprovalRequest` that says so for one call; False, unless given.
        expiry: Seconds, or a timedelta, that a call waits for a person; 90 days, unless given.
        on_expiry: What becomes of a call that nobody decided about in that time: "decline" (the
            default) tells the model that it was declined, "fail" ends the run.
        background: True, or a `Background`, where calls run beside the run's steps: the model gets
            a placeholder at once, and is told when the result is there. False, unless given.
    """

    timeout: Duration | None
    retries: int
    on_crash: OnCrash
    isolate: bool
    requires_approval: bool | ApprovalPolicy
    expiry: Duration
    on_expiry: OnExpiry
    background: bool | Background


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """How the engine treats the calls of a tool; its fields are explained at `ToolOptions`.

    Spans of time are in seconds here, and *background* is None for a tool that never runs there.
    """

    timeout: float | None = None
    retries: int = 0
    on_crash: OnCrash = "rerun"
    isolate: bool = False
    requires_approval: bool | ApprovalPolicy = False
    expiry: float = EXPIRY
    on_expiry: OnExpiry = "decline"
    background: Background | None = None

    @classmethod
    def of(cls, function: Callable[..., Any], options: ToolOptions) -> "ToolPolicy":
        """The policy that `tool` was given for *function*.

        Raises `DeclarationError` for what could not work, saying what to change.
        """
        check_names("tool()", options, {"name", "description", *cls.__dataclass_fields__})
        where = f"@tool on {place_of(function)}"
        return cls.checked(options, where, lambda problem: refusal(function, problem))

    @classmethod
    def checked(
        cls, options: ToolOptions, where: str, refuse: Callable[[str], DeclarationError]
    ) -> "ToolPolicy":
        """The policy that was declared at *where*; raises what *refuse* makes of a problem."""
        given = typing.cast(dict[str, Any], options)
        background = checked_background(given.get("background", False), where)
        policy = cls(**{**given, "background": background})
        problem = policy._problem()
        if problem is not None:
            raise refuse(problem)
        return policy._in_seconds()

    def stored(self, apart: Background | None) -> dict[str, Any]:
        """What the record of a task keeps, for any worker and script that may have to apply it.

        *apart* is how the call runs in the background, if it does; times are in milliseconds.
        """
        timeout, retries = self.timeout, self.retries
        if apart is not None:
            timeout = timeout if apart.timeout is None else in_seconds(apart.timeout)
            retries = retries if apart.retries is None else apart.retries
        record: dict[str, Any] = {
            "on_crash": self.on_crash,
            "most_retries": as_stored_count(retries),
            "expiry": int(self.expiry * 1000),
            "on_expiry": self.on_expiry,
        }
        if apart is not None:
            record["bg"] = apart.disposition
        if timeout is not None:
            record["timeout"] = int(timeout * 1000)
        return record

    def _problem(self) -> str | None:
        return self._execution_problem() or self._people_problem()

    def _execution_problem(self) -> str | None:
        if self.timeout is not None and not is_positive(as_seconds(self.timeout)):
            allowed = "Give seconds above 0, or None for no limit."
            return f"timeout={self.timeout!r}. {allowed}"
        if type(self.retries) is not int or self.retries < 0:
            return f"retries={self.retries!r}. Give a whole number from 0 up."
        if self.on_crash not in typing.get_args(OnCrash):
            allowed = " or ".join(repr(value) for value in typing.get_args(OnCrash))
            return f"on_crash={self.on_crash!r}. Use {allowed}."
        isolate: Any = self.isolate
        if not isinstance(isolate, bool):
            return f"isolate={isolate!r}. Use True or False."
        return None

    def _people_problem(self) -> str | None:
        rule: Any = self.requires_approval
        is_function = callable(rule) and not inspect.iscoroutinefunction(rule)
        if not isinstance(rule, bool) and not is_function:
            allowed = "Use True, False, or a def that takes an ApprovalRequest and returns a bool."
            return f"requires_approval={rule!r}. {allowed}"
        if not is_positive(as_seconds(self.expiry)):
            return f"expiry={self.expiry!r}. Give seconds above 0."
        if self.on_expiry not in typing.get_args(OnExpiry):
            return f"on_expiry={self.on_expiry!r}. Use 'decline' or 'fail'."
        return None

    def _in_seconds(self) -> "ToolPolicy":
        return replace(
            self,
            timeout=None if self.timeout is None else in_seconds(self.timeout),
            expiry=in_seconds(self.expiry),
        )
