"""The tools that clients of MCP see: one for each agent, and two for runs; authorised as routes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mcp_types
from mcp.server import Server, ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request

from evented_agent.chunks import AnyChunk, TextDelta
from evented_agent.client.run_stream import SETTLED, AsyncRunStream
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import RunResult
from evented_agent.web.access import Allowed, allowed_run, somebody, with_scope
from evented_agent.web.exchange import Exchange, bad_request
from evented_agent.web.faces.legs import is_ending
from evented_agent.web.faces.mcp.forms import FormDecision, decision_for, person_form, waits_for
from evented_agent.web.failures import HttpFailure, failure_of, not_found
from evented_agent.web.names import run_id_for
from evented_agent.web.principal import Action, Principal
from evented_agent.web.routes.look import resource_of
from evented_agent.web.routes.start import NewRunRequest, begin_run
from evented_agent.web.site import Consult, Site, Verb, adrive

_Context = ServerRequestContext[Any, Any]
_Answers = Mapping[str, Any]

_TEXT: Mapping[str, Any] = {"type": "string"}
_RUN_ID: Mapping[str, Any] = {
    "type": "string",
    "description": "Names the run: the same id again is the same run.",
}
_MESSAGE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What the agent is told."},
        "thread_id": {"type": "string", "description": "The conversation to go on with."},
        "run_id": _RUN_ID,
    },
    "required": ["message"],
    "additionalProperties": False,
}
_RUN_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"run_id": _TEXT},
    "required": ["run_id"],
    "additionalProperties": False,
}
#: Tools about runs, unless an agent has that id: whether they read only, and what they do.
_RUN_TOOLS: Mapping[str, tuple[bool, str]] = {
    "run_status": (True, "Tell how far a run is, and what it came to."),
    "run_cancel": (False, "Ask that a run ends."),
}
#: Most characters of text in one notification of progress.
_MOST_PROGRESS = 4_000


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of an agent's tool, and who makes it."""

    ctx: _Context
    exchange: Exchange
    who: Principal
    run_id: str
    name: str
    thread_id: str | None


class AgentTools:
    """Serves the agents of a *site* as tools; *request_of* gives the request of a call."""

    def __init__(self, site: Site, request_of: Callable[[_Context], Request]) -> None:
        self._site = site
        self._request_of = request_of

    def server(self, version: str) -> Server[Any]:
        """An MCP server with these tools."""
        return Server(
            "evented-agent",
            version=version,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )

    async def list_tools(
        self, ctx: _Context, _: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        """The agents that whoever asks may start, and the tools about runs."""
        exchange = self._exchange(ctx)
        tools = []
        for id_, agent in self._agents().items():
            who = await Consult(exchange, Action("start", id_)).arun(self._site)
            if who is None or "start" not in who.scopes:
                continue
            description = agent.description or f"Ask the agent {agent.name}."
            tools.append(_tool(id_, description, _MESSAGE_SCHEMA, title=agent.name))
        for name, (reads, description) in _RUN_TOOLS.items():
            if name not in self._agents():
                tools.append(_tool(name, description, _RUN_SCHEMA, reads=reads))
        return mcp_types.ListToolsResult(tools=tools)

    async def call_tool(
        self, ctx: _Context, params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        """Start a run and wait for it, or look at one; what is refused is an error result."""
        try:
            return await self._called(ctx, params)
        except Exception as error:  # noqa: BLE001 - each has its sentence; others are logged there
            return _failure(failure_of(error))

    async def _called(
        self, ctx: _Context, params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        exchange, given = self._exchange(ctx), params.arguments or {}
        if params.name in self._agents():
            return await self._agent(ctx, exchange, params)
        run_id = _text(given, "run_id")
        if params.name not in _RUN_TOOLS or run_id is None:
            raise HttpFailure(404, "unknown_tool", "There is no such tool, or no run_id.")
        is_cancel = params.name == "run_cancel"
        allowed = await self._allowed(exchange, "act" if is_cancel else "read", run_id)
        if is_cancel:
            await self._do(Verb("abort", (allowed.run_id,)))
        info: RunInfo = await self._do(Verb("get", (allowed.run_id,)))
        return await self._result(info, allowed.name)

    async def _agent(
        self, ctx: _Context, exchange: Exchange, params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        if params.request_state is None:
            call, run = await self._begin(ctx, exchange, params)
        else:
            call, run = await self._go_on(ctx, exchange, params, params.request_state)
        counted_by = None if call.who.all_resources else call.who.name
        with self._site.streams.one_of(counted_by, "answer"):
            return await self._until_answered(call, run)

    async def _begin(
        self, ctx: _Context, exchange: Exchange, params: mcp_types.CallToolRequestParams
    ) -> tuple[_Call, AsyncRunStream[Any]]:
        agent, given = params.name, params.arguments or {}
        who = await adrive(self._site, somebody(exchange, "start", agent=agent))
        with_scope(who, "read")
        message, thread_id = _text(given, "message"), _text(given, "thread_id")
        if message is None:
            raise bad_request("message is missing: what the agent is told.")
        name = _text(given, "run_id")
        stored = run_id_for(who, name, None)
        whose = resource_of(exchange, who)
        request = NewRunRequest(agent, message, stored, thread_id, whose)
        run = cast(
            AsyncRunStream[Any], await adrive(self._site, begin_run(self._site, who, request))
        )
        return _Call(ctx, exchange, who, run.run_id, name or run.run_id, thread_id), run

    async def _go_on(
        self,
        ctx: _Context,
        exchange: Exchange,
        params: mcp_types.CallToolRequestParams,
        name: str,
    ) -> tuple[_Call, AsyncRunStream[Any]]:
        """The client has asked a person: decide so, and follow the run on."""
        allowed = await self._allowed(exchange, "decide", name)
        if allowed.info.agent != params.name:
            raise not_found()
        answers = {key: _answer(each) for key, each in (params.input_responses or {}).items()}
        await self._decide(allowed, answers)
        run = await self._do(Verb("observe", (allowed.run_id,)))
        who, thread_id = allowed.who, allowed.info.thread_id
        call = _Call(ctx, exchange, who, allowed.run_id, allowed.name, thread_id)
        return call, cast(AsyncRunStream[Any], run)

    async def _until_answered(
        self, call: _Call, run: AsyncRunStream[Any]
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        while True:
            info = await self._follow(call, run)
            if info.status != "suspended" or not _can_ask(call.ctx):
                return await self._result(info, call.name)
            if call.ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
                return _questions(info, call.name)
            answers = await _ask_now(call.ctx, info)
            allowed = await self._allowed(call.exchange, "decide", call.name)
            if not await self._decide(allowed, answers):
                return await self._result(info, call.name)
            run = await self._do(Verb("observe", (call.run_id,), {"after": run.cursor}))

    async def _follow(self, call: _Call, run: AsyncRunStream[Any]) -> RunInfo:
        """Follow the run, and tell its text as progress, until nothing more comes by itself."""
        progress = 0
        async with run:
            async for batch in run.batches(self._site.heartbeat):
                progress += 1
                message = _said(batch)[:_MOST_PROGRESS] or None
                await call.ctx.session.report_progress(progress, message=message)
                if any(is_ending(chunk) for chunk in batch):
                    # A retry or a decision may have come meanwhile.
                    info: RunInfo = await self._do(Verb("get", (call.run_id,)))
                    if info.status in SETTLED:
                        return info
        return cast(RunInfo, await self._do(Verb("get", (call.run_id,))))

    async def _decide(self, allowed: Allowed, answers: _Answers) -> bool:
        """Decide as people answered; whether all that they were asked is decided."""
        pending = {str(each.number): each for each in allowed.info.pending}
        is_all = True
        for key, (action, content) in answers.items():
            asked = pending.get(key.rpartition(":")[2])
            # One that is decided already waits no more; the run says what came of it.
            decision = None if asked is None else decision_for(asked, action, content)
            if asked is not None and decision is not None:
                await self._do(_verb(decision, allowed, asked.number))
            is_all &= decision is not None
        return is_all

    async def _result(self, info: RunInfo, name: str) -> mcp_types.CallToolResult:
        result: RunResult[Any] = await self._do(Verb("result", (info.run_id,)))
        text = result.answer
        if info.status == "suspended":
            text = waits_for(info.pending)
        elif info.status == "failed":
            text = f"The run failed: {'' if info.error is None else info.error.message}"
        elif info.status == "aborted":
            text = "The run was aborted."
        structured = {
            "run_id": name,
            "status": info.status,
            "thread_id": info.thread_id,
            "text": text,
        }
        return mcp_types.CallToolResult(
            content=[mcp_types.TextContent(type="text", text=text)],
            structured_content=structured,
            is_error=info.status in ("failed", "aborted"),
        )

    def _agents(self) -> Mapping[str, Any]:
        agents, only = self._site.runs.agents, self._site.agent
        return agents if only is None else {only: agents[only]}

    def _exchange(self, ctx: _Context) -> Exchange:
        return Exchange(self._request_of(ctx), {}, b"")

    async def _allowed(self, exchange: Exchange, action: Any, name: str) -> Allowed:
        return await adrive(self._site, allowed_run(self._site, exchange, action, name))

    async def _do(self, verb: Verb) -> Any:
        return await verb.arun(self._site)


def _tool(
    name: str,
    description: str,
    schema: Mapping[str, Any],
    *,
    title: str | None = None,
    reads: bool = False,
) -> mcp_types.Tool:
    hints = mcp_types.ToolAnnotations(read_only_hint=True) if reads else None
    return mcp_types.Tool(
        name=name,
        title=title,
        description=description,
        input_schema=dict(schema),
        annotations=hints,
    )


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_request(f"{name} is no text.")
    return value


def _said(batch: Sequence[AnyChunk]) -> str:
    return "".join(chunk.payload.text for chunk in batch if isinstance(chunk, TextDelta))


def _can_ask(ctx: _Context) -> bool:
    """Whether the client shows forms: as its result, or while the call is open."""
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        return False
    elicitation = capabilities.elicitation
    has_forms = elicitation.form is not None or elicitation.url is None
    return has_forms and (
        ctx.protocol_version in MODERN_PROTOCOL_VERSIONS or ctx.session.can_send_request
    )


def _questions(info: RunInfo, name: str) -> mcp_types.InputRequiredResult:
    requests: dict[str, mcp_types.InputRequest] = {}
    for pending in info.pending:
        form = person_form(pending)
        params = mcp_types.ElicitRequestFormParams(
            message=form.message, requested_schema=dict(form.schema)
        )
        requests[f"{name}:{pending.number}"] = mcp_types.ElicitRequest(params=params)
    # No secret, and believed in nothing: whoever sends it must be allowed to decide.
    return mcp_types.InputRequiredResult(input_requests=requests, request_state=name)


async def _ask_now(ctx: _Context, info: RunInfo) -> _Answers:
    """Ask while the call is open, as clients of older revisions have it."""
    answers = {}
    for pending in info.pending:
        form = person_form(pending)
        found = await ctx.session.elicit_form(form.message, dict(form.schema), ctx.request_id)
        answers[str(pending.number)] = _answer(found)
    return answers


def _answer(given: Any) -> tuple[str, Mapping[str, Any]]:
    action = getattr(given, "action", "cancel")
    return action, getattr(given, "content", None) or {}


def _verb(decision: FormDecision, allowed: Allowed, number: int) -> Verb:
    options = {**(decision.options or {}), "number": number, "by": allowed.who.name}
    return Verb(decision.verb, (allowed.run_id, *decision.arguments), options)


def _failure(failure: HttpFailure) -> mcp_types.CallToolResult:
    return mcp_types.CallToolResult(
        content=[mcp_types.TextContent(type="text", text=failure.message)],
        structured_content=failure.json(),
        is_error=True,
    )
