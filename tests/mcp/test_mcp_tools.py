"""Tools of MCP servers in runs: on the in-process engine, with real servers."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evented_agent import (
    Agent,
    DurableAgent,
    MCPServer,
    RunFailed,
    RunResult,
    create_durable_agent,
    tool,
)
from evented_agent.chunks import ToolCallSuspended
from evented_agent.models.messages import ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.mcp.servers import HOSTILE, count, hostile, shop, shop_over_http
from tests.support.servers import RedisServer

Serve = Callable[..., DurableAgent]


@pytest.fixture
def serve(redis_server: RedisServer) -> Iterator[Serve]:
    """Serve an agent whose model makes the calls, and then says "Done."."""
    served: list[Any] = []

    def one(*calls: Any, tools: Any, **options: Any) -> DurableAgent:
        model = ScriptedModel([list(calls), "Done."])
        options = {"id": "customer", "model": model, **options}
        served.append(
            create_durable_agent(Agent(tools=tools, **options), redis_url=redis_server.url)
        )
        return served[-1]  # type: ignore[no-any-return]

    yield one
    for each in served:
        each.close()


def results(result: RunResult) -> list[Any]:
    return [message.result for message in messages(result)]


def messages(result: RunResult) -> list[ToolMessage]:
    return [message for message in result.messages if isinstance(message, ToolMessage)]


def test_a_model_calls_tools_of_a_server(serve: Serve, tmp_path: Path) -> None:
    calls = [tool_call("shop_price", item="tea"), tool_call("shop_buy", item="tea")]
    durable = serve(*calls, tool_call("shop_picture"), tools=[shop(tmp_path)])

    price, bought, picture = results(durable.generate("Buy tea.", timeout=30))

    assert price == {"price": 3}
    assert bought == "Bought: tea"
    assert picture[0] == "The shop:"
    assert picture[1]["type"] == "image"
    assert picture[1]["url"].startswith("data:image/png;base64,iVBOR")


def test_a_server_over_http_is_the_same(serve: Serve, tmp_path: Path) -> None:
    with shop_over_http(tmp_path) as url:
        durable = serve(tool_call("shop_price", item="tea"), tools=[MCPServer("shop", url=url)])

        assert results(durable.generate("Ask.", timeout=30)) == [{"price": 3}]


def test_the_model_is_told_what_the_server_says_of_its_tools(serve: Serve, tmp_path: Path) -> None:
    seen: list[ModelRequest] = []

    def look(request: ModelRequest) -> str:
        seen.append(request)
        return "Seen."

    server = shop(tmp_path, allow=["price", "buy", "fail"], deny=["fail"])
    serve(tools=[server], model=ScriptedModel([look])).generate("Look.", timeout=30)

    assert [spec.name for spec in seen[0].tools] == ["shop_price", "shop_buy"]
    assert seen[0].tools[0].description == "Tell the price of an item."
    assert seen[0].tools[0].parameters["properties"]["item"]["type"] == "string"


def test_what_is_not_allowed_cannot_be_called(serve: Serve, tmp_path: Path) -> None:
    calls = [tool_call("shop_buy", item="tea"), tool_call("shop_price", item="tea")]
    durable = serve(*calls, tools=[shop(tmp_path, deny=["buy"])])

    refused, price = results(durable.generate("Buy.", timeout=30))

    assert refused.startswith("ToolNotFound")
    assert price == {"price": 3}
    assert count(tmp_path, "buy") == 0


def test_a_handoff_wins_over_a_tool_of_a_server(serve: Serve) -> None:
    seen: list[str] = []

    def look(request: ModelRequest) -> str:
        seen.extend(spec.name for spec in request.tools)
        return "Done."

    program = [*HOSTILE, "transfer"]
    durable = serve(
        model=ScriptedModel([look]),
        tools=[MCPServer("transfer", command=program)],
        handoffs=["billing"],
    )
    durable.generate("Go.", timeout=30)

    # Providers refuse a request in which two tools have one name.
    assert seen == ["transfer_act", "transfer_to_billing"]


def test_a_tool_of_the_agent_wins_over_one_of_a_server(serve: Serve, tmp_path: Path) -> None:
    @tool
    def shop_price(item: str) -> str:
        """Tell the price."""
        return f"{item} is free"

    durable = serve(tool_call("shop_price", item="tea"), tools=[shop(tmp_path), shop_price])

    assert results(durable.generate("Ask.", timeout=30)) == ["tea is free"]


def test_a_tool_that_fails_is_an_error_for_the_model(serve: Serve, tmp_path: Path) -> None:
    wrong = tool_call("shop_price", thing="tea")
    durable = serve(tool_call("shop_fail"), wrong, tools=[shop(tmp_path)])

    failed, refused = messages(durable.generate("Fail.", timeout=30))

    assert failed.is_error
    assert failed.result == "MCPToolFailed: Error executing tool fail"
    assert refused.is_error
    assert count(tmp_path, "fail") == 1


def test_retries_are_those_of_the_policy(serve: Serve, tmp_path: Path) -> None:
    server = shop(tmp_path, policies={"fail": {"retries": 1}})
    serve(tool_call("shop_fail"), tools=[server]).generate("Fail.", timeout=30)

    assert count(tmp_path, "fail") == 2


def test_a_server_that_dies_in_a_call_is_started_anew(serve: Serve, tmp_path: Path) -> None:
    server = shop(tmp_path, policies={"die": {"retries": 1}})

    assert results(serve(tool_call("shop_die"), tools=[server]).generate("Die.", timeout=30)) == [
        "alive"
    ]
    assert count(tmp_path, "started") == 2


def test_a_server_that_dies_is_an_error_where_no_retry_is_wanted(
    serve: Serve, tmp_path: Path
) -> None:
    first, then = [tool_call("shop_die")], [tool_call("shop_price", item="tea")]
    durable = serve(tools=[shop(tmp_path)], model=ScriptedModel([first, then, "Done."]))

    died, price = results(durable.generate("Die.", timeout=30))

    assert (
        died
        == "MCPServerUnavailable: The MCP server 'shop' is not available: the connection ended."
    )
    assert price == {"price": 3}


def test_a_server_over_http_may_be_started_anew_between_calls(serve: Serve, tmp_path: Path) -> None:
    with shop_over_http(tmp_path) as url:
        durable = serve(tool_call("shop_price", item="tea"), tools=[MCPServer("shop", url=url)])
        durable.generate("Ask.", timeout=30)
    with shop_over_http(tmp_path, int(url.split(":")[2].split("/")[0])):
        assert results(durable.generate("Ask.", timeout=30)) == [{"price": 3}]


def test_approval_is_asked_for_as_of_own_tools(serve: Serve, tmp_path: Path) -> None:
    server = shop(tmp_path, policies={"buy": {"requires_approval": True}})
    durable = serve(tool_call("shop_buy", item="tea"), tools=[server])
    run = durable.stream("Buy.")
    for chunk in run:
        if chunk.type == "tool-call-approval":
            break
    assert count(tmp_path, "buy") == 0
    durable.approve(run.run_id, arguments={"item": "milk"})

    assert results(run.result(timeout=30)) == ["Bought: milk"]


def test_a_server_may_ask_a_person(serve: Serve, tmp_path: Path) -> None:
    durable = serve(tool_call("shop_deliver", item="tea"), tools=[shop(tmp_path)])
    run = durable.stream("Deliver.")
    asked = next(chunk for chunk in run if isinstance(chunk, ToolCallSuspended))
    form = (asked.payload.resume_schema or {})["anyOf"][0]
    assert asked.payload.suspend_payload["message"] == "Where to deliver the tea?"
    assert set(form["properties"]) == {"street", "floor"}
    with pytest.raises(Exception, match="asks for something else"):
        durable.resume(run.run_id, {"street": "Main St", "floor": "second"})
    durable.resume(run.run_id, {"street": "Main St", "floor": 2})

    assert results(run.result(timeout=30)) == ["tea goes to Main St, floor 2"]
    assert count(tmp_path, "deliver") == 1


def test_a_person_may_decline_what_a_server_asks(serve: Serve, tmp_path: Path) -> None:
    durable = serve(tool_call("shop_deliver", item="tea"), tools=[shop(tmp_path)])
    run = durable.stream("Deliver.")
    next(chunk for chunk in run if isinstance(chunk, ToolCallSuspended))
    durable.decline(run.run_id)

    [message] = messages(run.result(timeout=30))
    assert message.is_error
    assert "decline" in str(message.result).lower()
    assert count(tmp_path, "deliver") == 0


def test_calls_can_run_in_the_background(serve: Serve, tmp_path: Path) -> None:
    durable = serve(
        tool_call("shop_price", item="tea"),
        tools=[shop(tmp_path, policies={"price": {"background": True}})],
    )

    result = durable.generate("Ask.", until_idle=20, timeout=30)

    assert results(result) == [{"price": 3}]


def test_a_run_keeps_the_list_that_it_began_with(serve: Serve, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look_and_change(request: ModelRequest) -> Any:
        seen.append([spec.name for spec in request.tools])
        (tmp_path / "changed").touch()
        return [tool_call("shop_die")]

    def look_and_call(request: ModelRequest) -> Any:
        seen.append([spec.name for spec in request.tools])
        return [tool_call("shop_buy", item="tea"), tool_call("shop_price", item="tea")]

    model = ScriptedModel([look_and_change, look_and_call, "Done."])
    durable = serve(tools=[shop(tmp_path)], model=model)

    result = durable.generate("Buy.", timeout=30)

    _, gone, changed = results(result)
    assert seen[0] == seen[1]
    assert gone == (
        "MCPToolRefused: The tool is no more on the MCP server 'shop' since this run began. It "
        "cannot be called in this run."
    )
    assert "has changed on the MCP server" in changed


def test_a_server_that_never_comes_fails_the_run(serve: Serve) -> None:
    durable = serve(tools=[hostile("unborn")], model_retries=1)

    with pytest.raises(RunFailed, match="'evil' is not available: its program ended before"):
        durable.generate("Go.", timeout=30)


def test_a_server_that_comes_later_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    script = "import os, sys; sys.exit(3) if not os.path.exists(sys.argv[1]) and "
    script += "not open(sys.argv[1], 'w').close() else os.execv(sys.executable, sys.argv[2:])"
    command = [sys.executable, "-c", script, str(tmp_path / "once"), sys.executable]
    server = MCPServer("shop", command=[*command, str(shop_file()), str(tmp_path)])
    durable = serve(tool_call("shop_price", item="tea"), tools=[server])

    assert results(durable.generate("Ask.", timeout=30)) == [{"price": 3}]


def shop_file() -> Path:
    return Path(__file__).parent / "shop_server.py"
