"""Agents as MCP tools over HTTP, driven by the official client, in both eras of the protocol."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import mcp_types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from evented_agent import InProcessAgent
from evented_agent.web import create_app
from tests.http.agents import GATES
from tests.http.conftest import Serve, Served, authorize
from tests.support.workers import wait_until

Script = Callable[[Client], Awaitable[Any]]


def drive(served: Served, who: str, script: Script, *, mode: str = "auto", **options: Any) -> Any:
    """What a script makes of a client of somebody."""

    async def main() -> Any:
        headers = {"authorization": f"Bearer {who}"} if who else {}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http:
            streams = streamable_http_client(f"{served.url}/mcp", http_client=http)
            async with Client(streams, mode=mode, cache=None, **options) as client:
                return await script(client)

    return asyncio.run(main())


def ask(agent: str, message: str, **more: Any) -> Script:
    """Call the tool of an agent."""

    async def script(client: Client) -> Any:
        return await client.call_tool(agent, {"message": message, **more})

    return script


def answering(action: str, content: Any = None) -> Any:
    """What a person answers to whatever is asked; the questions are kept."""

    async def callback(_: Any, params: Any) -> mcp_types.ElicitResult:
        callback.asked.append(params)  # type: ignore[attr-defined]
        return mcp_types.ElicitResult(action=action, content=content)  # type: ignore[arg-type]

    callback.asked = []  # type: ignore[attr-defined]
    return callback


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """The revision of 2026-07-28, and those before it."""
    return str(request.param)


def test_an_agent_is_a_tool(served: Served, mode: str) -> None:
    async def script(client: Client) -> Any:
        listed = await client.list_tools()
        return listed.tools, await client.call_tool("talker", {"message": "say Hello."})

    tools, result = drive(served, "ann", script, mode=mode)

    assert {"talker", "run_status", "run_cancel"} <= {tool.name for tool in tools}
    [schema] = [tool.input_schema for tool in tools if tool.name == "talker"]
    assert set(schema["properties"]) == {"message", "thread_id", "run_id"}
    assert result.content[0].text == "Hello."
    assert result.structured_content["status"] == "finished"
    assert result.structured_content["text"] == "Hello."
    assert not result.is_error


def test_text_is_told_as_progress(served: Served, mode: str) -> None:
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async def script(client: Client) -> Any:
        given = {"message": "say one two three"}
        return await client.call_tool("talker", given, progress_callback=on_progress)

    drive(served, "ann", script, mode=mode)

    assert "".join(message or "" for _, message in told) == "one two three"
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})


def test_a_failure_is_an_error_result(served: Served, mode: str) -> None:
    result = drive(served, "ann", ask("talker", "fail"), mode=mode)

    assert result.is_error
    assert result.structured_content["status"] == "failed"
    assert "no such luck" in result.content[0].text


def test_the_same_run_id_is_the_same_run(served: Served) -> None:
    first = drive(served, "ann", ask("talker", "say Once.", run_id="asked-once"))
    again = drive(served, "ann", ask("talker", "say Once.", run_id="asked-once"))
    other = drive(served, "ann", ask("talker", "say Twice.", run_id="asked-once"))
    of_bob = drive(served, "bob", ask("talker", "say Twice.", run_id="asked-once"))

    assert first.structured_content == again.structured_content
    assert first.structured_content["run_id"] == "asked-once"
    assert other.is_error
    assert other.structured_content["error"]["code"] == "run_conflict"
    assert of_bob.structured_content["text"] == "Twice."


def test_a_thread_goes_on(served: Served) -> None:
    result = drive(served, "ann", ask("talker", "say Hi.", thread_id="walk"))

    assert result.structured_content["thread_id"] == "walk"
    conversation = served.as_("ann").get("/threads/walk").json()
    assert len(conversation["messages"]) == 2


def test_a_person_approves_through_the_client(served: Served) -> None:
    person = answering("accept", {"approved": True})
    result = drive(
        served, "ann", ask("talker", 'erase {"name": "it"}'), elicitation_callback=person
    )

    [asked] = person.asked
    assert asked.message == 'May talker call erase {"name":"it"}?'
    assert result.content[0].text == "erased it"
    [decision] = (
        served.as_("ann").get(f"/runs/{result.structured_content['run_id']}").json()["decisions"]
    )
    assert (decision["decision"], decision["by"]) == ("approved", "Ann")


def test_a_person_declines_through_the_client(served: Served) -> None:
    person = answering("decline")
    ask_for = ask("talker", 'erase {"name": "it"}')
    result = drive(served, "ann", ask_for, elicitation_callback=person)

    assert "erased" not in result.content[0].text
    assert result.structured_content["status"] == "finished"


def test_a_question_of_a_tool_is_answered_through_the_client(served: Served) -> None:
    person = answering("accept", {"answer": "blue"})
    ask_for = ask("talker", 'ask {"question": "Which colour?"}')
    result = drive(served, "ann", ask_for, elicitation_callback=person)

    assert person.asked[0].message == "Which colour?"
    assert result.content[0].text == "They say blue."


def test_a_client_that_cannot_ask_is_told(served: Served, mode: str) -> None:
    ask_for = ask("talker", 'erase {"name": "it"}', run_id=f"waits-{mode}")
    result = drive(served, "ann", ask_for, mode=mode)

    assert not result.is_error
    assert result.structured_content["status"] == "suspended"
    assert result.content[0].text.startswith("The run waits for a person: May talker call erase")
    served.as_("ann").post(f"/runs/waits-{mode}/approve", json={})
    again = drive(served, "ann", ask_for, mode=mode)
    assert again.content[0].text == "erased it"


def test_leaving_touches_no_run(served: Served, mode: str) -> None:
    async def leave(client: Client) -> None:
        given = {"message": f'hold {{"name": "{mode}"}}', "run_id": f"left-{mode}"}
        call = asyncio.create_task(client.call_tool("talker", given))
        while (await client.call_tool("run_status", {"run_id": f"left-{mode}"})).is_error:
            # Between two looks: it is not started yet.
            await asyncio.sleep(0.02)
        call.cancel()

    drive(served, "ann", leave, mode=mode)
    GATES[mode].set()
    look = served.as_("ann")

    def has_finished() -> bool:
        return bool(look.get(f"/runs/left-{mode}").json()["status"] == "finished")

    wait_until(has_finished, "the run goes on")


def test_a_run_is_cancelled_by_a_tool(served: Served) -> None:
    async def cancel(client: Client) -> Any:
        # A gate that no test before this one has opened.
        gate = json.dumps({"name": uuid.uuid4().hex})
        given = {"message": f"hold {gate}", "run_id": "cancelled"}
        call = asyncio.create_task(client.call_tool("talker", given))
        while (await client.call_tool("run_cancel", {"run_id": "cancelled"})).is_error:
            # Between two looks: it is not started yet.
            await asyncio.sleep(0.02)
        return await call

    result = drive(served, "ann", cancel)

    assert result.is_error
    assert result.structured_content["status"] == "aborted"


def test_nobody_gets_in(served: Served) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    reply = served.as_("").post("/mcp", json=body)

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    with pytest.raises((MCPError, ExceptionGroup)):
        drive(served, "", ask("talker", "say Hi."))


def test_what_somebody_may_not_start_is_not_listed(served: Served) -> None:
    async def script(client: Client) -> Any:
        listed = await client.list_tools()
        called = await client.call_tool("talker", {"message": "say Hi."})
        return [tool.name for tool in listed.tools], called

    names, called = drive(served, "reader", script)

    assert "talker" not in names
    assert called.is_error
    assert called.structured_content["error"]["code"] == "forbidden"


def test_the_run_of_another_does_not_exist(served: Served) -> None:
    drive(served, "ann", ask("talker", "say Mine.", run_id="anns"))
    stored = served.as_("ann").get("/runs").json()["runs"][0]["run_id"]

    async def script(client: Client) -> Any:
        return [
            await client.call_tool(tool, {"run_id": run_id})
            for tool in ("run_status", "run_cancel")
            for run_id in ("anns", stored, "no-such-run")
        ]

    for found in drive(served, "bob", script):
        assert found.is_error
        assert found.structured_content["error"]["code"] == "run_not_found"


def test_nobody_answers_for_another(served: Served) -> None:
    drive(served, "ann", ask("talker", 'erase {"name": "it"}', run_id="anns-question"))
    info = served.as_("ann").get("/runs/anns-question").json()
    stored = served.as_("ann").get("/runs").json()["runs"][0]["run_id"]
    key = f"{stored}:{info['pending'][0]['number']}"

    async def script(client: Client) -> Any:
        return await client.session.call_tool(
            "talker",
            {"message": "x"},
            request_state=stored,
            input_responses={
                key: mcp_types.ElicitResult(action="accept", content={"approved": True})
            },
            allow_input_required=True,
        )

    found = drive(served, "bob", script)

    assert found.is_error
    assert served.as_("ann").get("/runs/anns-question").json()["status"] == "suspended"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"origin": "https://evil.example"}, 403),
        ({"cookie": "who=ann", "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_other_hosts_and_pages_are_refused(
    headers: dict[str, str], status: int, durable: InProcessAgent, serve: Serve
) -> None:
    app = create_app(durable, authorize=authorize, allowed_hosts=["127.0.0.1"])
    served = serve(app)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    reply = served.as_("ann").post("/mcp", json=body, headers=headers)

    assert reply.status_code == status


def test_other_methods_are_refused(served: Served) -> None:
    reply = served.as_("ann").get("/mcp", headers={"accept": "text/event-stream"})

    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
