"""Agents: instructions, models, tools and policies, as a user declares them.  Imports no run."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, NoReturn, Unpack

import pydantic
import pydantic_core

from evented_agent.agents import validation
from evented_agent.agents.callbacks import (
    Hook,
    JudgeStep,
    PrepareStep,
    StopCondition,
    ToolErrorText,
)
from evented_agent.agents.generics import Ctx, Out
from evented_agent.agents.handoffs import HandoffTarget
from evented_agent.agents.memory import Memory, Window
from evented_agent.agents.output_types import OutputType
from evented_agent.agents.tools.agent_tool import AgentTool, AgentToolOptions, agent_tool
from evented_agent.agents.tools.approvals import ApprovalPolicy
from evented_agent.agents.tools.background import Background
from evented_agent.agents.tools.mcp_server import MCPServer
from evented_agent.agents.tools.tool import Tool
from evented_agent.agents.validation import AgentOptions, Instructions, ModelRef, Policy
from evented_agent.durations import Duration
from evented_agent.models.protocol import Model, ToolChoice


class Agent(Generic[Ctx, Out]):
    """An agent: what it is told, which models answer, and which tools they may call.

    Declare it at the top level of a module that workers import too; it cannot be changed. What it
    was given can be read from it. Type checkers know it as ``Agent[Ctx, Out]``: *Ctx* is what its
    *instructions* take, *Out* its *output_type*.

    >>> clerk = Agent(id="clerk", instructions="Be brief.", model="openai/gpt-5.5")

    Attributes:
        id: What runs and workers know it by.
        name: For people.
        description: For people.
        max_steps: The most model calls of a run.
        stop_when: Conditions looked at after each step; the first true one ends the run.
        tool_choice: "auto", "none", "required", or ``{"tool": name}``.
        active_tools: The names of the tools on offer; None for all.
        model_settings: JSON for every model call.
        model_retries: How often a failed call is tried again before the next model is.
        model_timeout: Seconds that a model call may take.
        tool_call_concurrency: How many tool calls of a run may be under way.
        require_tool_approval: Whether every call waits for approval, or a function that says so.
        policies: Functions that runs may choose, by name.
        prepare_step: The function that may choose a step's model, tools and instructions.
        on_iteration_complete: The function that judges each step.
        hooks: The hooks that are declared, by name: "on_start", "on_finish", …
        tool_error: The function that says what is shown of a tool's exception; None for its text.
        memory: Where threads are kept; None for the deployment's Redis.
        window: How much of a thread the model sees.
        output_type: What the answer must be, with its schema; None for text.
        output_types: All that a run may choose, by name.
        background: How calls of tools run in the background, by the tool's name, instead of what
            the tools declare.
        background_concurrency: How many background calls run at a time, in all of its runs.
        max_model_wait: Seconds that a run waits at most for a model that asks it to.
        handoffs: The agents that may go on with its runs, by the tool that its model calls.
        version: What records say answered.
    """

    id: str
    name: str
    description: str
    max_steps: int
    stop_when: tuple[StopCondition, ...]
    tool_choice: ToolChoice
    active_tools: tuple[str, ...] | None
    model_settings: Mapping[str, Any]
    model_retries: int
    model_timeout: float
    tool_call_concurrency: int
    require_tool_approval: bool | ApprovalPolicy
    policies: Mapping[str, Policy]
    prepare_step: PrepareStep | None
    on_iteration_complete: JudgeStep | None
    hooks: Mapping[str, Hook]
    tool_error: ToolErrorText | None
    memory: Memory | None
    window: Window
    output_type: OutputType | None
    output_types: Mapping[str, OutputType]
    background: Mapping[str, Background | None]
    background_concurrency: int
    max_model_wait: float
    handoffs: Mapping[str, HandoffTarget]
    version: str
    _answering: validation.Answering

    def __init__(
        self,
        *,
        id: str,
        model: ModelRef | Sequence[ModelRef],
        instructions: str | Callable[[Ctx], str] = "",
        tools: Sequence[Tool | MCPServer] = (),
        name: str | None = None,
        description: str = "",
        max_steps: int = 5,
        stop_when: StopCondition | Sequence[StopCondition] = (),
        tool_choice: ToolChoice = "auto",
        active_tools: Sequence[str] | None = None,
        model_settings: Mapping[str, Any] | None = None,
        model_retries: int = 2,
        model_timeout: Duration = 600.0,
        tool_call_concurrency: int = 10,
        require_tool_approval: bool | ApprovalPolicy = False,
        policies: Mapping[str, Policy] | None = None,
        version: str | None = None,
        **more: Unpack[AgentOptions[Out]],
    ) -> None:
        """Check the declaration; `DeclarationError` says what to change.

        Args:
            id: What runs and workers know it by: 1 to 64 letters, digits, ``_``, ``.`` and ``-``.
            model: ``"openai/<model>"``, a `Model`, or several in the order in which to fall back.
            instructions: Text, or a function of the run's context that returns it.
            tools: Functions declared with `tool`, and MCP servers.
            name: For people; the id, unless given.
            description: For people.
            max_steps: The most model calls of a run.
            stop_when: Conditions looked at after each step; the first true one ends the run.
            tool_choice: "auto", "none", "required", or ``{"tool": name}``.
            active_tools: The names of the tools on offer; all, unless given.
            model_settings: JSON for every model call, such as ``{"temperature": 0}``.
            model_retries: How often a failed call is tried again before the next model is.
            model_timeout: Seconds, or a timedelta, that a model call may take.
            tool_call_concurrency: How many tool calls of a run may be under way.
            require_tool_approval: Whether every call waits for a person's approval, or a function
                of an `ApprovalRequest` that says so; beside what the tools themselves require.
            policies: Functions by name, for runs to choose: ``require_tool_approval="name"``,
                ``stop_when="name"``, ``prepare_step="name"``.
            version: What records say answered; a digest of the declaration, unless given.
            more: Hooks, threads and typed answers: see `AgentOptions`.
        """
        validation.check_id(id)
        answering = validation.answering(id, instructions, model, tools)
        known = answering.offered
        self._set(
            id=id,
            name=validation.text(id, "name", id if name is None else name),
            description=validation.text(id, "description", description),
            max_steps=validation.whole(id, "max_steps", max_steps, least=1),
            stop_when=validation.conditions(id, stop_when),
            active_tools=validation.active(id, active_tools, known),
            model_settings=validation.settings(id, model_settings),
            model_retries=validation.whole(id, "model_retries", model_retries, least=0),
            model_timeout=validation.seconds(id, "model_timeout", model_timeout),
            tool_call_concurrency=validation.whole(
                id, "tool_call_concurrency", tool_call_concurrency, least=1
            ),
            require_tool_approval=validation.approval(
                id, "require_tool_approval", require_tool_approval
            ),
            policies=validation.policies(id, policies or {}),
            **validation.more(id, more, Agent.__init__.__kwdefaults__ or ()),
            handoffs=validation.handoffs(id, more.get("handoffs", ()), known),
            _answering=answering,
        )
        offered = known if self.active_tools is None else self.active_tools
        self._set(tool_choice=validation.choice(id, tool_choice, offered))
        self._set(
            version=_digest(self) if version is None else validation.text(id, "version", version)
        )

    @property
    def instructions(self) -> Instructions:
        """What it is told: text, or a function of the run's context that returns it."""
        return self._answering.instructions

    @property
    def model(self) -> ModelRef | Sequence[ModelRef]:
        """The model or models as they were given."""
        return self._answering.model

    @property
    def models(self) -> tuple[Model, ...]:
        """The models in the order in which to fall back."""
        return self._answering.models

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that it may call, beside those of its MCP servers."""
        return self._answering.tools

    @property
    def mcp_servers(self) -> tuple[MCPServer, ...]:
        """The MCP servers whose tools it may call."""
        return self._answering.mcp_servers

    @property
    def tools_by_name(self) -> Mapping[str, Tool]:
        """Its `tools`, by the names that the model calls them."""
        return self._answering.tools_by_name

    def background_of(self, tool: Tool) -> Background | None:
        """How calls of *tool* run in the background; None for never, whatever a model wishes."""
        return self.background.get(tool.name, tool.policy.background)

    def tool_named(self, name: str) -> Tool | None:
        """The tool with that name; None where there is none, or where it is an MCP server's."""
        return self.tools_by_name.get(name)

    def mcp_server_of(self, name: str) -> MCPServer | None:
        """The MCP server that would have the tool with that name; None for any other."""
        if name in self.tools_by_name:
            return None
        begins = name.partition("_")[0]
        return next((server for server in self.mcp_servers if server.name == begins), None)

    @contextlib.contextmanager
    def override(
        self,
        *,
        model: ModelRef | Sequence[ModelRef] | None = None,
        instructions: Instructions | None = None,
        tools: Sequence[Tool | MCPServer] | None = None,
    ) -> Iterator["Agent[Ctx, Out]"]:
        """Answer with these instead, in all threads of this process, until the block ends.

        For tests.  Raises `DeclarationError` as the declaration would.
        """
        before = self._answering
        now = validation.answering(
            self.id,
            before.instructions if instructions is None else instructions,
            before.model if model is None else model,
            (*before.tools, *before.mcp_servers) if tools is None else tools,
        )
        if model is None:
            # The same objects, with what they hold open.
            now = replace(now, models=before.models)
        known = now.offered
        offered = (
            known
            if (active := validation.active(self.id, self.active_tools, known)) is None
            else active
        )
        validation.choice(self.id, self.tool_choice, offered)
        self._set(_answering=now)
        try:
            yield self
        finally:
            self._set(_answering=before)

    def as_tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        input: type[pydantic.BaseModel] | None = None,
        **options: Unpack[AgentToolOptions],
    ) -> AgentTool:
        """This agent as a tool of another: each call is answered by a run of it, a child run.

        What the child says is in the stream of the run that was started, as chunks of the type
        "child"; it waits for people, survives crashes and is aborted with that run, which counts
        its tokens too. The call's result is the child's last answer: its output where the agent
        has an ``output_type``, else text.

        Args:
            name: What the other's model calls it; the id, unless given.
            description: What that model is told of it; the agent's own, unless given.
            input: A pydantic model of the arguments, which the child gets as JSON; one text,
                ``input``, unless given.
            options: How calls are run; see `AgentToolOptions`.

        Raises `DeclarationError` for what could not work, saying what to change.

        >>> writer = Agent(id="writer", model="openai/gpt-5.5", tools=[researcher.as_tool()])
        """
        return agent_tool(self, name, description, input, options)

    def _set(self, **values: Any) -> None:
        vars(self).update(values)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"Agent {self.id!r} cannot be changed ({name}={value!r}). Declare another one; in a "
            "test, use agent.override(…)."
        )

    def __repr__(self) -> str:
        models = [model.name for model in self.models]
        return f"Agent(id={self.id!r}, model={models!r}, tools={list(self.tools_by_name)!r})"


def _digest(agent: Agent) -> str:
    """Changes with what the model is told and may call; the same in every process."""
    instructions = agent.instructions
    if not isinstance(instructions, str):
        named = instructions if hasattr(instructions, "__qualname__") else type(instructions)
        instructions = f"{named.__module__}.{named.__qualname__}"
    declared = {
        "instructions": instructions,
        "models": [model.name for model in agent.models],
        "tools": [
            *([tool.name, tool.description, tool.parameters] for tool in agent.tools),
            *(["mcp", server.name] for server in agent.mcp_servers),
        ],
    }
    if agent.handoffs:
        declared["handoffs"] = [made.agent_id for made in agent.handoffs.values()]
    return hashlib.sha256(pydantic_core.to_json(declared)).hexdigest()[:12]
