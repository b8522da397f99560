"""What a tool's exception says may be for nobody else: `tool_error` says what is shown."""

import logging
from collections.abc import Callable, Iterator

import pytest

from evented_agent import Agent, DeclarationError, DurableAgent, create_durable_agent, tool
from evented_agent.models.messages import ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.engines.test_erasure import keys_with
from tests.support.servers import RedisServer

PASSWORD = "hunter2-in-a-dsn"


@tool(retries=1)
def query(table: str) -> str:
    """Query a table, with credentials in what is raised."""
    raise ConnectionError(f"postgres://app:{PASSWORD}@db/{table}")


@tool(background=True)
def export() -> str:
    """Export in the background."""
    raise SystemExit(PASSWORD)


def told(request: ModelRequest) -> str:
    results = [message for message in request.messages if isinstance(message, ToolMessage)]
    return "; ".join(str(message.result) for message in results)


def polite(error: BaseException, tool_name: str) -> str:
    return f"{tool_name} is not available ({type(error).__name__})."


def broken(error: BaseException, tool_name: str) -> str:
    raise RuntimeError(str(error))


def wrong(error: BaseException, tool_name: str) -> str:
    return error  # type: ignore[return-value]


Serve = Callable[..., DurableAgent]


@pytest.fixture
def serve(redis_server: RedisServer) -> Iterator[Serve]:
    started: list[DurableAgent] = []

    def serve(**more: object) -> DurableAgent:
        calls = [tool_call("query", table="t"), tool_call("query", table=7), tool_call("nope")]
        agent = Agent(
            id="discreet",
            model=ScriptedModel([calls, told]),
            tools=[query, export],
            **more,  # type: ignore[arg-type]
        )
        started.append(create_durable_agent(agent, redis_url=redis_server.url))
        return started[-1]

    yield serve
    for each in started:
        for info in each.list():
            each.delete(info.run_id)
        each.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tool_error", "shown"),
    [
        (polite, "query is not available (ConnectionError)."),
        (broken, "The tool failed."),
        (wrong, "The tool failed."),
    ],
)
def test_the_text_of_an_exception_is_shown_to_nobody(
    serve: Serve,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    tool_error: Callable[[BaseException, str], str],
    shown: str,
) -> None:
    durable = serve(tool_error=tool_error)
    with caplog.at_level(logging.DEBUG):
        run = durable.stream("Go.")
        chunks = list(run)
        answer = run.result(20).answer

    assert shown in answer
    # What the library itself says has nothing of the tool's, and the model needs it.
    assert "The arguments of query are not valid" in answer
    assert "There is no tool 'nope'" in answer
    assert PASSWORD not in str(chunks)
    assert PASSWORD not in caplog.text
    assert keys_with(redis_server.url, PASSWORD) == []


def test_so_it_is_in_the_background(serve: Serve, redis_server: RedisServer) -> None:
    durable = serve(tool_error=polite)
    with durable.agent.override(model=ScriptedModel([[tool_call("export")], told, told])):
        run = durable.stream("Go.", until_idle=True)
        chunks = list(run)

    assert "export is not available (ToolExit)." in str(chunks)
    assert keys_with(redis_server.url, PASSWORD) == []


def test_without_it_the_model_is_told_what_the_exception_says(serve: Serve) -> None:
    assert PASSWORD in serve().generate("Go.", timeout=20).answer


@pytest.mark.parametrize("given", ["hide", 1, broken.__class__.__call__.__doc__])
def test_what_is_no_function_is_refused(given: object) -> None:
    with pytest.raises(DeclarationError, match="tool_error="):
        Agent(id="a", model=ScriptedModel(["x"]), tool_error=given)  # type: ignore[arg-type]


def test_an_async_function_is_refused() -> None:
    async def later(error: BaseException, tool_name: str) -> str:
        return tool_name

    with pytest.raises(DeclarationError, match="Pass a def that takes an exception"):
        Agent(id="a", model=ScriptedModel(["x"]), tool_error=later)  # type: ignore[arg-type]
