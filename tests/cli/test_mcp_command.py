"""`evented-agent mcp`: agents as tools for the program that starts it, by the official client."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp import Client, StdioServerParameters

from tests.support.workers import ROOT, WorkerProcess

Script = Callable[[Client], Awaitable[Any]]


def drive(script: Script, *arguments: str, mode: str = "auto", **options: Any) -> Any:
    """What a script makes of the command as a server."""
    names = [name for name in os.environ if name.startswith("TEST_")]
    server = StdioServerParameters(
        command=str(Path(sys.executable).parent / "evented-agent"),
        args=["mcp", "-A", "tests.support.app", *arguments],
        env={name: os.environ[name] for name in names},
        cwd=ROOT,
    )

    async def main() -> Any:
        async with Client(server, mode=mode, cache=None, **options) as client:
            return await script(client)

    return asyncio.run(main())


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """The revision of 2026-07-28, and those before it."""
    return str(request.param)


def test_a_program_calls_the_agents_of_an_app(module_worker: WorkerProcess, mode: str) -> None:
    async def script(client: Client) -> Any:
        listed = await client.list_tools()
        return listed.tools, await client.call_tool("hello", {"message": "Hi."})

    tools, result = drive(script, mode=mode)

    assert {"hello", "toolbox", "run_status", "run_cancel"} <= {tool.name for tool in tools}
    assert result.content[0].text == "Hello, world."
    assert result.structured_content["status"] == "finished"


def test_a_person_decides_in_the_program(module_worker: WorkerProcess, mode: str) -> None:
    asked: list[str] = []

    async def person(_: Any, params: Any) -> mcp_types.ElicitResult:
        asked.append(params.message)
        return mcp_types.ElicitResult(action="accept", content={"approved": True})

    async def script(client: Client) -> Any:
        return await client.call_tool("toolbox", {"message": 'erase {"name": "it"}'})

    result = drive(script, mode=mode, elicitation_callback=person)

    assert asked == ['May toolbox call erase {"name":"it"}?']
    assert result.content[0].text == "erased it"


def test_the_runs_are_those_of_a_resource(module_worker: WorkerProcess) -> None:
    async def start(client: Client) -> Any:
        return await client.call_tool("hello", {"message": "Hi.", "run_id": "my-hello"})

    async def look(client: Client) -> Any:
        return await client.call_tool("run_status", {"run_id": "my-hello"})

    drive(start, "--resource", "ann")

    assert drive(look, "--resource", "ann").structured_content["status"] == "finished"
    assert drive(look, "--resource", "bob").is_error
