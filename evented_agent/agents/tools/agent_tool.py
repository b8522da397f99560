"""Agents as tools of other agents: each call is answered by a child run of the caller's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypedDict, cast

import pydantic

from evented_agent.agents.tools.approvals import ApprovalPolicy
from evented_agent.agents.tools.background import Background
from evented_agent.agents.tools.policy import OnExpiry, ToolOptions, ToolPolicy
from evented_agent.agents.tools.schema import JsonSchema, opened, without_titles
from evented_agent.agents.tools.tool import Tool
from evented_agent.durations import Duration
from evented_agent.errors import DeclarationError
from evented_agent.given import check_names
from evented_agent.models.messages import Message, UserMessage

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class AskedText(pydantic.BaseModel):
    """What an agent is asked, unless `Agent.as_tool` says otherwise."""

    model_config = pydantic.ConfigDict(extra="forbid")

    input: str = pydantic.Field(
        description="What is to be done, with all that it takes: nothing else is passed on."
    )


class AgentToolOptions(TypedDict, total=False):
    """What `Agent.as_tool` takes beside a name, a description and an input.

    Attributes:
        timeout: Seconds, or a timedelta, after which the child run is put away and the call fails,
            times in which people are asked included; None, the default, for no limit but the run's.
        requires_approval: Whether a person approves each call before the child run begins; a
            function of an `ApprovalRequest` says so for one call.
        expiry: Seconds, or a timedelta, that such a call waits; 90 days, unless given.
        on_expiry: What becomes of one that nobody decided about: "decline" (the default) or "fail".
        background: True, or a `Background`, where calls run beside the steps of the caller.
    """

    timeout: Duration | None
    requires_approval: bool | ApprovalPolicy
    expiry: Duration
    on_expiry: OnExpiry
    background: bool | Background


@dataclass(frozen=True, eq=False, repr=False)
class AgentTool(Tool[..., Any]):
    """An agent that another one may call; made by `Agent.as_tool`.

    Attributes:
        agent: The agent whose child runs answer the calls.
    """

    #: An `Agent`, whose module imports this one.
    agent: Any

    def __post_init__(self) -> None:
        """Nothing to take from a function, since there is none."""

    def __repr__(self) -> str:
        return f"<Tool {self.name}: the agent {self.agent.id!r}>"

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError(f"{self!r} is called by a model. Start a run of the agent instead.")

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a model's JSON arguments into the input, as one.  Raises `InvalidArguments`."""
        return {"input": self._parsed(arguments)}

    def messages_for(self, arguments: Mapping[str, Any]) -> list[Message]:
        """What a child run begins with: the text that it is asked, or its input as JSON."""
        given: pydantic.BaseModel = arguments["input"]
        if isinstance(given, AskedText):
            return [UserMessage(content=given.input)]
        return [UserMessage(content=given.model_dump_json(by_alias=True))]


def _nothing() -> None:
    """In the place of a tool's function."""


def agent_tool(
    agent: Any,
    name: str | None,
    description: str | None,
    given: type[pydantic.BaseModel] | None,
    options: AgentToolOptions,
) -> AgentTool:
    """See `Agent.as_tool`."""
    where = f"Agent {agent.id!r}.as_tool()"

    def refuse(problem: str) -> DeclarationError:
        return DeclarationError(f"{where}: {problem}")

    check_names(where, options, {"name", "description", "input", *AgentToolOptions.__annotations__})
    called = re.sub("[^a-zA-Z0-9_-]", "_", agent.id) if name is None else str(name)
    if not _NAME.fullmatch(called):
        raise refuse(f"the name {called!r} is not valid: 1 to 64 ASCII letters, digits, _ and -.")
    about = (agent.description if description is None else description).strip()
    if not about:
        raise refuse("nothing says what it does. Give the agent a description, or as_tool one.")
    model: Any = AskedText if given is None else given
    if not (isinstance(model, type) and issubclass(model, pydantic.BaseModel)):
        raise refuse(f"input={given!r}. Pass a pydantic model class, or leave it out for text.")
    parameters = opened(model.model_json_schema(schema_generator=JsonSchema))
    if parameters.get("type") != "object":
        raise refuse(
            f"input={given!r} is no JSON object, as arguments are. Pass a class with fields."
        )
    return AgentTool(
        name=called,
        description=about,
        parameters=without_titles(parameters),
        function=_nothing,
        is_async=False,
        takes_context=False,
        policy=ToolPolicy.checked(cast(ToolOptions, options), where, refuse),
        _arguments=model,
        _argument_names=tuple(model.model_fields),
        agent=agent,
    )
