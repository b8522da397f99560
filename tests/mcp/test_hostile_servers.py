"""MCP servers that mean no good, or are broken: the run goes on, and nothing of it is believed."""

import asyncio
import contextlib
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evented_agent import Agent, MCPServer, RunFailed, create_durable_agent
from evented_agent.execution.mcp.connection import MCPConnection
from evented_agent.execution.mcp.failures import MCPServerUnavailable
from evented_agent.execution.mcp.request import ToolRequest
from evented_agent.models.messages import ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.mcp.servers import hostile, shop, shop_over_http
from tests.support.servers import RedisServer

TOKEN = "wonderful-token-1234"


def act(redis_server: RedisServer, *servers: MCPServer, calls: Any = None) -> list[ToolMessage]:
    """What the model is told of its calls, of ``evil_act`` unless others are given."""
    made = [[tool_call("evil_act")]] if calls is None else calls
    agent = Agent(
        id="victim", model=ScriptedModel([*made, "Done."]), tools=servers, model_retries=0
    )
    durable = create_durable_agent(agent, redis_url=redis_server.url)
    try:
        result = durable.generate("Go.", timeout=60)
    finally:
        durable.close()
    assert result.answer == "Done."
    return [message for message in result.messages if isinstance(message, ToolMessage)]


def test_what_is_listed_is_bounded_and_has_no_hidden_signs(redis_server: RedisServer) -> None:
    seen: list[ModelRequest] = []

    def look(request: ModelRequest) -> str:
        seen.append(request)
        return "Done."

    act(redis_server, hostile("list"), calls=[look])

    specs = {spec.name: spec for spec in seen[0].tools}
    assert len(specs) == 128
    assert set("\u202e\x1b\U000e0041").isdisjoint(specs["evil_signs"].description)
    assert len(specs["evil_signs"].description) < 4_100
    assert {"evil_large", "evil_deep", "evil_wrong"}.isdisjoint(specs)
    # Names that a provider would refuse, or that two tools would have.
    assert sum(name.startswith("evil_a_b_c_") for name in specs) == 2
    assert all(len(name) <= 64 for name in specs)
    assert sum(name.startswith("evil_xxx") for name in specs) == 1


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("deep", "the connection ended"),
        ("large", "TooLarge"),
        ("no-result", "an answer that is not the protocol's"),
        ("long-line", "the connection ended"),
    ],
)
def test_a_result_that_cannot_be_kept_is_an_error(
    how: str, told: str, redis_server: RedisServer
) -> None:
    [message] = act(redis_server, hostile(how))

    assert message.is_error
    assert told in str(message.result)


def test_a_call_is_not_repeated_for_what_came_back(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    [message] = act(redis_server, hostile("no-result", retries=2))

    assert message.is_error
    assert "retry in" not in caplog.text


def test_a_server_that_says_that_its_list_has_changed_is_asked_anew(
    redis_server: RedisServer,
) -> None:
    calls = [[tool_call("evil_act")], [tool_call("evil_act")]]
    once, then = act(redis_server, hostile("relist"), calls=calls)

    assert once.result == "once"
    assert str(then.result).startswith("MCPToolRefused: The tool is no more on the MCP server")


def test_results_have_no_hidden_signs(redis_server: RedisServer) -> None:
    [message] = act(redis_server, hostile("signs"))

    assert message.result == "ab[31mcde"


def test_a_text_that_was_cut_within_a_character_is_a_result(redis_server: RedisServer) -> None:
    [message] = act(redis_server, hostile("half-sign"))

    assert message.result == "cut \ufffd, \U0001f600, \\ud83d"


def test_lines_that_are_no_messages_are_skipped_and_told_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    [first, second] = act(redis_server, hostile("prints"), calls=[[tool_call("evil_act")]] * 2)

    assert (first.result, second.result) == ("printed", "printed")
    told = [record for record in caplog.records if "prints lines" in record.getMessage()]
    assert len(told) == 1
    assert "loaded" not in caplog.text


def test_an_answer_that_is_cut_off_ends_the_connection(redis_server: RedisServer) -> None:
    [message] = act(redis_server, hostile("broken-answer"))

    assert "the connection ended" in str(message.result)


def test_a_list_that_is_slow_ends_no_call_under_way(redis_server: RedisServer) -> None:
    server = hostile("slow-list", connect_timeout=0.5)

    async def ask() -> tuple[Any, Any]:
        connection = MCPConnection(server)
        [act_] = await connection.definitions()
        request = ToolRequest(act_.tool, act_.digest, {}, key="k")
        call = asyncio.create_task(connection.call(request))
        session = connection._session
        # Until the server has said that its list is another.
        while session is None or session.listed is not None:
            await asyncio.sleep(0.01)
        with pytest.raises(MCPServerUnavailable, match=r"did not answer in 0\.5 s"):
            await connection.call(request)
        result = await call
        # Nothing goes on any more, so it connects anew.
        again = await connection.definitions()
        await connection.close()
        return result, again

    result, again = asyncio.run(ask())
    assert result == "late"
    assert [each.tool for each in again] == ["act"]


class Halved(http.server.BaseHTTPRequestHandler):
    """A server whose answers are cut within a character, as JSON or as an event."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        result: dict[str, Any] = {"tools": [{"name": "act", "inputSchema": {"type": "object"}}]}
        if asked.get("method") == "initialize":
            about = {"name": "half", "version": "1"}
            version = asked["params"]["protocolVersion"]
            result = {"protocolVersion": version, "capabilities": {"tools": {}}}
            result["serverInfo"] = about
        elif asked.get("method") == "tools/call":
            result = {"content": [{"type": "text", "text": f"{TOKEN} @"}]}
        body = json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": result}).encode()
        _, kind, half = self.path.split("/")
        body = body.replace(b"@", b"\\ud83d" if half == "escaped" else b"\xf0\x9f")
        if kind == "event":
            body = b"event: message\ndata: " + body + b"\n\n"
        self.send_response(200 if "id" in asked else 202)
        kinds = {"event": "text/event-stream", "json": "application/json"}
        self.send_header("content-type", kinds[kind])
        self.send_header("content-length", str(len(body) if "id" in asked else 0))
        self.end_headers()
        if "id" in asked:
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_error(405)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("kind", ["json", "event"])
@pytest.mark.parametrize("half", ["escaped", "raw"])
def test_an_answer_over_http_that_was_cut_within_a_character_is_told(
    kind: str, half: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Halved)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{kind}/{half}"
    web = MCPServer("evil", url=url, headers={"Authorization": f"Bearer {TOKEN}"}, retries=2)
    try:
        [message] = act(redis_server, web)
    finally:
        server.shutdown()
        server.server_close()
    if (kind, half) == ("event", "raw"):
        assert str(message.result).startswith("[secret] ")
    else:
        assert "an answer that is not the protocol's" in str(message.result)
    # A call was made: it is not made again.
    assert "retry in" not in caplog.text
    # Nor a part of it, nor what stood around it.
    assert TOKEN[-10:] not in caplog.text
    assert "input_value" not in caplog.text


def test_what_a_model_cannot_be_shown_is_described(redis_server: RedisServer) -> None:
    [message] = act(redis_server, hostile("parts"))

    assert message.result == [
        "[audio, audio/wav, about 3 bytes: cannot be shown here]",
        "[image, image/png, about 2 bytes: cannot be shown here]",
        "[image, image/svg+xml, about 3 bytes: cannot be shown here]",
        "[resource: all users, file:///etc/passwd]",
        "[resource: a:b]\ninside",
        "[resource a:c, of no known type, about 3 bytes: cannot be shown here]",
    ]


@pytest.mark.parametrize("method", ["sampling/createMessage", "roots/list", "elicitation/create"])
def test_a_server_gets_no_model_no_files_and_no_person(
    method: str, redis_server: RedisServer
) -> None:
    [message] = act(redis_server, hostile(method))

    assert "code" in str(message.result)
    assert "content" not in str(message.result)


def test_a_server_that_says_nothing_times_out(redis_server: RedisServer) -> None:
    [message] = act(redis_server, hostile("silent", timeout=0.5))

    assert "ToolTimeout: No result within 0.5 s." in str(message.result)


def test_a_list_that_is_none_fails_the_run(redis_server: RedisServer) -> None:
    with pytest.raises(RunFailed, match="an answer that is not the protocol's"):
        act(redis_server, hostile("bad-list"))


def test_pages_without_an_end_have_one(redis_server: RedisServer) -> None:
    [message] = act(redis_server, hostile("pages"), calls=[[tool_call("evil_nothing")]])

    assert message.result == (
        "ToolNotFound: There is no tool 'evil_nothing'. Available tools: evil_act."
    )


def test_a_program_that_speaks_no_protocol_is_given_up(redis_server: RedisServer) -> None:
    with pytest.raises(RunFailed, match="MCP server 'evil' is not available"):
        act(redis_server, hostile("noise", connect_timeout=10))


def test_secrets_are_kept_from_readers_redis_and_logs(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    [said] = act(redis_server, hostile("secret", env=["SHOP_TOKEN"]))
    [failed] = act(redis_server, hostile("error", env=["SHOP_TOKEN"]))

    assert said.result == "It is [secret]."
    assert str(failed.result).startswith("MCPToolFailed: The MCP server 'evil' failed: no [secret]")
    assert len(str(failed.result)) < 3_000
    assert TOKEN not in stored(redis_server)
    assert TOKEN not in caplog.text


def test_a_program_gets_nothing_of_the_workers_environment(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-of-its-business")
    monkeypatch.setenv("SHOP_NAME", "corner")
    calls = [[tool_call("shop_environment")]]
    [message] = act(redis_server, shop(tmp_path, env=["SHOP_NAME"]), calls=calls)

    assert message.result["SHOP_NAME"] == "corner"
    assert "PATH" in message.result
    assert not {"OPENAI_API_KEY", "PYTEST_CURRENT_TEST"} & set(message.result)


def test_a_variable_that_a_worker_lacks_is_named(redis_server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="environment lacks NO_SUCH_TOKEN"):
        act(redis_server, shop(tmp_path, env=["NO_SUCH_TOKEN"]), calls=[])


class Broken(http.server.BaseHTTPRequestHandler):
    """Answers with what is no protocol, in the way that the path says."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        kind = "application/json" if self.path != "/page" else "text/html"
        self.send_response(500 if self.path == "/error" else 200)
        self.send_header("content-type", kind)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b"<html>")
            while self.path == "/endless":
                self.wfile.write(b"x" * 65536)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("path", ["/page", "/error", "/endless", "/json"])
def test_a_server_over_http_that_speaks_no_protocol_fails_the_run(
    path: str, redis_server: RedisServer
) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}{path}"
    try:
        with pytest.raises(RunFailed, match="MCP server 'web' is not available"):
            act(redis_server, MCPServer("web", url=url, connect_timeout=20), calls=[])
    finally:
        server.shutdown()
        server.server_close()


class Redirecting(http.server.BaseHTTPRequestHandler):
    """Sends everybody elsewhere, and keeps what it was sent."""

    target = ""
    seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(307)
        self.send_header("location", self.target)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def redirecting() -> Iterator[tuple[str, type[Redirecting]]]:
    kept = type("Kept", (Redirecting,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kept)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/mcp", kept
    server.shutdown()
    server.server_close()


def test_a_redirect_to_another_host_is_not_followed(
    redis_server: RedisServer, redirecting: tuple[str, type[Redirecting]], tmp_path: Path
) -> None:
    url, handler = redirecting
    with shop_over_http(tmp_path) as elsewhere:
        handler.target = elsewhere
        server = MCPServer("shop", url=url, headers={"Authorization": f"Bearer {TOKEN}"})
        with pytest.raises(RunFailed, match=r"not available|refused"):
            act(redis_server, server, calls=[])

    assert handler.seen[0]["authorization"] == f"Bearer {TOKEN}"
    assert "POST /mcp" not in next(tmp_path.glob("log-*")).read_text()
    assert TOKEN not in stored(redis_server)


def test_headers_are_asked_for_at_each_request(
    redis_server: RedisServer, redirecting: tuple[str, type[Redirecting]]
) -> None:
    url, handler = redirecting
    handler.target = url.replace("/mcp", "/other")
    numbers = iter(range(1, 100))
    server = MCPServer("shop", url=url, headers=lambda: {"X-Number": str(next(numbers))})
    with pytest.raises(RunFailed):
        act(redis_server, server, calls=[])

    numbers_seen = [headers["x-number"] for headers in handler.seen]
    assert numbers_seen[:2] != [numbers_seen[0]] * 2


def stored(redis_server: RedisServer) -> str:
    """All that is in Redis, as text."""
    client: Any = redis_server.client()
    read: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"stream": client.xrange,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        # It has expired meanwhile.
        b"none": lambda _: "",
    }
    found = [str(read[client.type(key)](key)) for key in client.keys("*")]
    return json.dumps(found)
