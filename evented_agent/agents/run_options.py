"""What a caller may choose for one run.  JSON only: code lives in the agent, on both sides."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypedDict

import pydantic_core
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from evented_agent.chunks.json_values import NotJson, as_json
from evented_agent.durations import Duration, as_seconds, is_positive
from evented_agent.errors import DeclarationError
from evented_agent.models.credentials import credentials_in


class StreamOptions(TypedDict, total=False):
    """What one call of `stream` may choose beside its input; all of it JSON.

    Attributes:
        run_id: Makes the call idempotent: the same id and input is the same run.
        thread_id: The conversation that the run belongs to: the model sees what was said before,
            and what this run adds is kept. Within one resource.
        resource_id: Whose run it is.
        when_busy: What to do while another run has its turn in the thread: "queue" for it, "reject"
            this call with `ThreadBusy`, "interrupt" the other, "steer" it (the input goes to it as
            a message, and its stream is returned), or run in "parallel". Only a run of the same
            agent and options is steered, with what a user says; beside others, this is parallel.
        when_waiting: What to do where the run that has the turn only waits, for a person or for
            calls in the background: "steer" it, take the turn from it ("parallel"), or "queue".
            With "steer", a run that cannot be steered is taken the turn from. "parallel" and
            "interrupt" of *when_busy* hold for such runs too.
        until_idle: Stay with the run's deferred calls, and the turns that follow them, until there
            are none: True, or for how long at most they may take between two turns (seconds or a
            timedelta; 5 minutes). Without it the end waits as their tools' ``wait_timeout`` says.
        deadline: Seconds, or a timedelta, after which the run is aborted, wherever it is.
        queue: The Celery queue, by default that of the settings. Name another one in
            ``app.conf.evented_agent_queues``, so that its workers know that they serve agents.
        model: The name of one of the agent's models, such as "openai/gpt-5.5": it is asked first,
            the others are what to fall back on, in their order.
        max_steps: At most so many model calls, instead of the agent's number.
        tool_choice: "auto", "none", "required" or {"tool": name}, instead of the agent's.
        active_tools: The names of the tools on offer, instead of the agent's.
        instructions: Instead of the agent's.
        model_settings: Over the agent's.
        tool_call_concurrency: At most so many tool calls of the run at the same time.
        require_tool_approval: Whether calls wait for approval, or the name of one of the agent's
            policies, instead of the agent's; what tools require of themselves still counts.
        stop_when: Names of the agent's policies that may end the run, beside its ``stop_when``.
        prepare_step: The name of one of the agent's policies, instead of its ``prepare_step``.
        output_type: One of the agent's output types, or its name, instead of the default.
        close_on_suspend: Whether the stream ends where the run waits for people alone; else it
            stays open, and goes on with the run.
        context: What the run is about beside its messages, as JSON: the user's id, their language,
            a tenant. No model sees it. Tools have it as ``ctx.context``, a function for the
            agent's instructions takes it, hooks and policies find it on what they are given.
        metadata: What the caller wants to find again with the run, as JSON, in `RunInfo.metadata`.
            Nothing reads it.
    """

    run_id: str
    thread_id: str
    resource_id: str
    queue: str
    model: str
    max_steps: int
    tool_choice: Any
    active_tools: list[str]
    instructions: str
    model_settings: dict[str, Any]
    tool_call_concurrency: int
    require_tool_approval: bool | str
    when_busy: Literal["queue", "reject", "interrupt", "steer", "parallel"]
    when_waiting: Literal["steer", "parallel", "queue"]
    until_idle: bool | Duration
    deadline: Duration
    stop_when: str | list[str]
    prepare_step: str
    output_type: Any
    close_on_suspend: bool
    context: Any
    metadata: dict[str, Any]


def _span(value: Any) -> float:
    """Seconds, from what a user may pass; the sentence is for `DeclarationError`."""
    seconds = as_seconds(value)
    if not is_positive(seconds):
        raise ValueError(f"{value!r}; pass seconds above 0, or a timedelta")
    return seconds


#: Options that say how a run gets along with others of its thread.
THREAD_OPTIONS = ("when_busy", "when_waiting")
#: Options that are JSON of any form.
_VALUES = ("context", "metadata", "model_settings")


def _value(name: str, given: Any) -> Any:
    try:
        return as_json(given)
    except NotJson as error:
        raise DeclarationError(f"The option {name} is not JSON: {error}.") from None


#: Options that do not name what an agent declares.
_OF_ANY_AGENT = {
    *("max_steps", "tool_call_concurrency", "until_idle", "deadline", "context"),
    *THREAD_OPTIONS,
}
_Span = Annotated[float, BeforeValidator(_span)]


class RunOptions(BaseModel):
    """Options of one run, as the record keeps them; None means: as the agent declares."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    max_steps: int | None = Field(default=None, ge=1, strict=True)
    tool_choice: Literal["auto", "none", "required"] | dict[Literal["tool"], str] | None = None
    active_tools: list[str] | None = None
    instructions: str | None = None
    model_settings: dict[str, Any] = Field(default_factory=dict)
    tool_call_concurrency: int | None = Field(default=None, ge=1, strict=True)
    require_tool_approval: bool | str | None = None
    stop_when: list[str] = Field(default_factory=list)
    prepare_step: str | None = None
    output_type: str | None = None
    when_busy: Literal["queue", "reject", "interrupt", "steer", "parallel"] = "queue"
    when_waiting: Literal["steer", "parallel", "queue"] = "steer"
    until_idle: _Span | None = None
    deadline: _Span | None = None
    context: Any = None
    #: In a field of the record of its own: workers, older ones too, have nothing to do with it.
    metadata: dict[str, Any] = Field(default_factory=dict, exclude=True)

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "RunOptions":
        """Check what was passed to `stream`; raises `DeclarationError` for a wrong option."""
        for name, value in given.items():
            if callable(value):
                raise DeclarationError(
                    f"{name}={value!r}: a function cannot travel to a worker. Declare it on the "
                    "Agent, where workers import it too."
                )
        secret = credentials_in(given.get("model_settings"))
        if secret:
            raise DeclarationError(
                f"model_settings holds {', '.join(secret)}, and is stored with the run. Pass "
                "headers=, query= or token= where the model is declared."
            )
        given = {**given, **{name: _value(name, given[name]) for name in _VALUES if name in given}}
        try:
            options = cls(**given)
            options.json()
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            what = problem["msg"].removeprefix("Value error, ")
            raise DeclarationError(f"The option {where} is not valid: {what}.") from None
        except (TypeError, ValueError) as error:
            raise DeclarationError(f"The options are not JSON: {error}") from None
        return options

    def of_another_agent(self) -> "RunOptions":
        """What of it holds for an agent that a run was handed over to."""
        asks = self.require_tool_approval
        kept = self.model_dump(include=_OF_ANY_AGENT, exclude_defaults=True)
        return RunOptions(**kept, require_tool_approval=asks if isinstance(asks, bool) else None)

    def of_child(self) -> "RunOptions":
        """What of it holds for the child runs of a run, of whatever agent.

        Where all calls are to wait for approval, theirs are, too.
        """
        asks = True if self.require_tool_approval is True else None
        return RunOptions(context=self.context, require_tool_approval=asks)

    @property
    def is_new_kind(self) -> bool:
        """Whether workers that know no messages to runs cannot read them."""
        return self.when_busy == "steer" or self.when_waiting != "steer"

    @classmethod
    def load(cls, stored: bytes | str) -> "RunOptions":
        """Read options back from a record."""
        return cls(**pydantic_core.from_json(stored))

    def json(self) -> str:  # type: ignore[override]
        """Return the stored form, stable for equal options."""
        return pydantic_core.to_json(
            self.model_dump(mode="json", exclude_defaults=True), inf_nan_mode="constants"
        ).decode()
