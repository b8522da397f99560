"""A message that interrupts, over real HTTP: the provider hears of it and is told the rest."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from evented_agent import Agent, InProcessAgent, create_durable_agent, tool
from evented_agent.chunks import TextDelta, ToolCallDelta, ToolCallDropped
from evented_agent.models import OpenAIChat
from tests.support.servers import RedisServer
from tests.support.workers import wait_until


class EndlessServer:
    """Answers "on and on" word by word until nobody listens, all else with what it was told."""

    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.left = threading.Event()
        self._is_closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._is_closed.set()
        self._server.shutdown()
        self._server.server_close()

    def _deltas(self, said: str) -> Iterator[dict[str, Any]]:
        if said == "on and on":
            while not self._is_closed.wait(0.01):
                yield {"content": "word "}
        elif said == "call and call":
            function = {"name": "look", "arguments": ""}
            yield {"tool_calls": [{"index": 0, "id": "c1", "function": function}]}
            while not self._is_closed.wait(0.01):
                yield {"tool_calls": [{"index": 0, "function": {"arguments": " "}}]}
        else:
            yield {"content": f"You said {said}."}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append(body["messages"])
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                try:
                    for delta in server._deltas(body["messages"][-1]["content"]):
                        self._say({"index": 0, "delta": delta})
                    self._say({"index": 0, "delta": {}, "finish_reason": "stop"})
                    self.wfile.write(b"data: [DONE]\n\n")
                except ConnectionError:
                    server.left.set()
                    self.close_connection = True

            def _say(self, choice: dict[str, Any]) -> None:
                chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                line = json.dumps({**chunk, "choices": [choice]})
                self.wfile.write(f"data: {line}\n\n".encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@tool
def look(at: str = "") -> str:
    """Look at something."""
    return at


@pytest.fixture
def server() -> Iterator[EndlessServer]:
    made = EndlessServer()
    yield made
    made.close()


@pytest.fixture
def talker(
    server: EndlessServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InProcessAgent]:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-test")
    model = OpenAIChat("m", base_url=server.url)
    agent = create_durable_agent(
        Agent(id="interrupted-talker", model=model, tools=[look]), redis_url=redis_server.url
    )
    yield agent
    agent.close()


def test_the_provider_is_left_and_told_what_it_had_said(
    server: EndlessServer, talker: InProcessAgent
) -> None:
    run = talker.stream("on and on")
    for chunk in run:
        if isinstance(chunk, TextDelta):
            break
    run.send("Stop.", interrupt=True)
    result = run.result(timeout=20)

    wait_until(server.left.is_set, "the provider has heard of it")
    first, second = result.steps
    assert (first.finish_reason, second.text) == ("interrupted", "You said Stop..")
    _, said, asked = [message["content"] for message in server.requests[1]]
    assert (said, asked) == (first.text, "Stop.")


def test_a_call_that_the_model_had_not_finished_is_not_made(
    server: EndlessServer, talker: InProcessAgent
) -> None:
    run = talker.stream("call and call")
    for chunk in run:
        if isinstance(chunk, ToolCallDelta):
            break
    run.send("Stop.", interrupt=True)
    [dropped] = [chunk for chunk in run if isinstance(chunk, ToolCallDropped)]
    assert dropped.payload.tool_name == "look"
    result = run.result(timeout=20)
    assert [len(step.tool_calls) for step in result.steps] == [0, 0]
    # What it had not said is no part of the conversation.
    assert [message["role"] for message in server.requests[1]] == ["user"]
