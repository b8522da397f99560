"""What a running tool is given: its run, its context value, `emit` and `suspend`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn

import pydantic

from evented_agent.agents.generics import Ctx


class Suspend(BaseException):
    """Raised by `ToolContext.suspend` to leave the tool; no `Exception`, so that none eats it."""

    def __init__(self, payload: Any, resume_schema: Mapping[str, Any] | None) -> None:
        self.payload = payload
        self.resume_schema = resume_schema
        super().__init__("This call waits for a person.")


def _discard(_data: Any) -> None:
    """Emit to nobody: in a unit test there is no run."""


# Without slots: in Python 3.11, frozen classes with them cannot be made as ToolContext[Shop](…).
@dataclass(frozen=True)
class ToolContext(Generic[Ctx]):
    """What a tool may know about the call that it answers.

    A tool gets it by annotating its first parameter with this class, or with ``ToolContext[Shop]``
    where *context* is a ``Shop``; the model never sees that parameter.
    ``ToolContext(run_id="r", tool_call_id="c", tool_name="t")`` serves in unit tests.

    Attributes:
        run_id: The run that the call belongs to.
        tool_call_id: Names the call within its run.
        tool_name: The tool, as the model calls it.
        step: The step that the call belongs to: 1, 2, …
        attempt: How often the call was begun, this time included: 1, 2, …
        context: The JSON value that `stream` was given.
        emit: ``emit(data)`` sends JSON to the run's readers as a `tool-output` chunk.
        is_aborted: What `aborted` asks.
        resumed: The data of each `suspend` of this call that was answered, in order.
        approval: The decision with which the call was approved, if somebody had to.
        agent: The agent's id.
        thread_id: The conversation that the run belongs to, if it has one.
        resource_id: Whose run it is, if that was given.
    """

    run_id: str
    tool_call_id: str
    tool_name: str
    step: int = 1
    attempt: int = 1
    context: Ctx = None  # type: ignore[assignment]
    emit: Callable[[Any], None] = _discard
    is_aborted: Callable[[], bool] = lambda: False
    resumed: Sequence[Any] = ()
    approval: Mapping[str, Any] | None = None
    agent: str = ""
    thread_id: str | None = None
    resource_id: str | None = None

    @property
    def resume_data(self) -> Any:
        """What the last `suspend` was answered with; None before the first answer."""
        return self.resumed[-1] if self.resumed else None

    def suspend(
        self, payload: Any = None, *, resume_schema: type[pydantic.BaseModel] | None = None
    ) -> NoReturn:
        """Leave the tool until somebody resumes the call; no worker is held meanwhile.

        The tool is then called again, with the answer in `resume_data`; what is in front of this
        line runs again too. *payload* is JSON that readers see, *resume_schema* a model which the
        answer must fit.

        >>> if ctx.resume_data is None:
        ...     ctx.suspend({"question": "Window or aisle?"}, resume_schema=Seat)
        """
        schema = None if resume_schema is None else resume_schema.model_json_schema()
        raise Suspend(payload, schema)

    @property
    def idempotency_key(self) -> str:
        """The same at every attempt of this call, and never that of another call."""
        return f"{self.run_id}:{self.tool_call_id}"

    @property
    def aborted(self) -> bool:
        """Whether the result is no longer wanted; a long tool looks at it and returns early."""
        return self.is_aborted()
