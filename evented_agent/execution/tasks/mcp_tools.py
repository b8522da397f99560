"""The tools of an agent's MCP servers in one run: asked for once, and kept with the run."""

import asyncio
import importlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pydantic

from evented_agent.agents.tools.context import Suspend, ToolContext
from evented_agent.agents.tools.mcp_server import MCPServer
from evented_agent.agents.tools.tool import Tool
from evented_agent.errors import ConfigurationError
from evented_agent.execution.attempt import Attempt, Requeue, backoff
from evented_agent.execution.mcp.definitions import (
    Definition,
    dump_definitions,
    load_definitions,
)
from evented_agent.execution.mcp.failures import (
    MCPServerUnavailable,
    MCPToolFailed,
    MCPToolRefused,
)
from evented_agent.execution.mcp.questions import PersonAsked, WaitingCall, answers_of
from evented_agent.execution.mcp.request import ToolRequest
from evented_agent.logs import logger_of

if TYPE_CHECKING:
    from evented_agent.execution.mcp.hub import MCPHub

logger = logger_of(__name__)

#: What imports the SDK.
_HUB = "evented_agent.execution.mcp.hub"
#: Seconds before a server is asked for its tools again, doubling up to the most.
_FIRST_WAIT, _MOST_WAIT = 1.0, 30.0
#: How often in one call a server may ask a person.
_MOST_QUESTIONS = 10


@dataclass(frozen=True, eq=False, repr=False)
class _ServerTool(Tool):
    """A tool of an MCP server; its server checks the arguments."""

    def validate(self, arguments: Any) -> dict[str, Any]:
        return dict(arguments)

    def __repr__(self) -> str:
        return f"<Tool {self.name} of an MCP server>"


async def load_mcp_tools(attempt: Attempt) -> None:
    """Let the attempt use the tools that the run keeps of its agent's MCP servers."""
    await _load(attempt)


async def fix_mcp_tools(attempt: Attempt) -> None:
    """`load_mcp_tools`; servers of which the run keeps none yet are asked what they offer.

    That is kept before it is used, under the attempt's fence: all steps of the run, and whoever
    tries this one again, see the same. Raises `Requeue` while a server is not available.
    """
    missing = await _load(attempt)
    if not missing:
        return
    hub = await _hub()
    asked = [hub.definitions(server) for server in missing]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for server, found in zip(missing, answers, strict=True):
        if isinstance(found, BaseException):
            _raise_again(attempt, found)
        await attempt.store_text(_list_name(attempt, server), dump_definitions(found))
        _use(attempt, server, found)


def close_mcp_servers(servers: Iterable[MCPServer]) -> None:
    """End this process's connections to *servers*, where there are any, and their programs."""
    module = sys.modules.get(_HUB)
    if module is not None:
        module.mcp_hub().disconnect(list(servers))


async def _load(attempt: Attempt) -> Sequence[MCPServer]:
    """Use what the run keeps; returns the servers of which it keeps nothing."""
    servers = attempt.agent.mcp_servers
    if not servers:
        return ()
    stored = await attempt.stored_texts([_list_name(attempt, server) for server in servers])
    for server, kept in zip(servers, stored, strict=True):
        if kept is not None:
            _use(attempt, server, load_definitions(kept))
    return [server for server, kept in zip(servers, stored, strict=True) if kept is None]


def _raise_again(attempt: Attempt, error: BaseException) -> NoReturn:
    """Have the server asked again later, or fail the run."""
    tries = attempt.task.list_tries
    is_ours = isinstance(error, MCPServerUnavailable | MCPToolFailed | MCPToolRefused)
    if not is_ours or tries >= attempt.agent.model_retries:
        raise error
    delay = backoff(tries, first=_FIRST_WAIT, most=_MOST_WAIT)
    logger.warning("%s Asking again in %.0f s", error, delay)
    raise Requeue(delay, str(error), {"list_tries": tries + 1}) from None


def _list_name(attempt: Attempt, server: MCPServer) -> str:
    # Another agent that goes on with the run may give another server that name.
    return f"mcp:{attempt.agent.id}:{server.name}"


def _question_name(ctx: ToolContext, number: int) -> str:
    return f"mcp-question:{ctx.tool_call_id}:{number}"


def _use(attempt: Attempt, server: MCPServer, definitions: Sequence[Definition]) -> None:
    # One that is no longer allowed is not offered, whatever the run keeps.
    allowed = [each for each in definitions if server.offers(each.tool)]
    attempt.add_tools([_tool_of(attempt, server, each) for each in allowed])


def _tool_of(attempt: Attempt, server: MCPServer, definition: Definition) -> Tool:
    async def call(ctx: ToolContext, /, **arguments: Any) -> Any:
        return await _call(attempt, server, definition, ctx, arguments)

    return _ServerTool(
        name=definition.name,
        description=definition.description,
        parameters=definition.parameters,
        function=call,
        is_async=True,
        takes_context=True,
        policy=server.policy_of(definition.tool, is_repeatable=definition.is_repeatable),
        _arguments=pydantic.BaseModel,
        _argument_names=(),
    )


async def _call(
    attempt: Attempt,
    server: MCPServer,
    definition: Definition,
    ctx: ToolContext,
    arguments: dict[str, Any],
) -> Any:
    hub = await _hub()
    waiting = await _waiting(attempt, ctx)
    request = ToolRequest(
        tool=definition.tool,
        digest=definition.digest,
        arguments=arguments,
        key=ctx.idempotency_key,
        answers=None if waiting is None else answers_of(waiting, ctx.resume_data),
        state=None if waiting is None else waiting.state,
    )
    try:
        return await hub.call(server, request)
    except PersonAsked as question:
        asked = len(ctx.resumed)
        if asked >= _MOST_QUESTIONS:
            raise MCPToolRefused(f"The server asked {asked} times and gave no result.") from None
        stored = question.waiting.model_dump_json()
        await attempt.store_text(_question_name(ctx, asked), stored)
        raise Suspend(question.payload, question.schema) from None


async def _waiting(attempt: Attempt, ctx: ToolContext) -> WaitingCall | None:
    """What the server waits for, of which the last answer is the person's."""
    if not ctx.resumed:
        return None
    stored = await attempt.stored_text(_question_name(ctx, len(ctx.resumed) - 1))
    if stored is None:
        raise MCPToolRefused("What the MCP server asked is not known any more; call again.")
    return WaitingCall.model_validate_json(stored)


async def _hub() -> "MCPHub":
    """The connections of this process; the SDK takes a second to import, so in a thread."""
    module = sys.modules.get(_HUB)
    if module is not None:
        return cast("MCPHub", module.mcp_hub())
    try:
        module = await asyncio.to_thread(importlib.import_module, _HUB)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"MCP servers need the extra: pip install 'evented-agent[mcp]' ({error})."
        ) from None
    return cast("MCPHub", module.mcp_hub())
