"""Model servers over real HTTP that refuse what real ones refuse, and remember what they did."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: What a server says: the deltas of a stream; a status and words instead; or an event to wait for.
Reply = Iterable[dict[str, Any] | threading.Event] | tuple[int, dict[str, Any], dict[str, str]]

NINE = "[A-Za-z0-9]{9}"


def check_template(body: dict[str, Any]) -> None:
    """Raise `AssertionError` for what the strictest templates refuse.

    One system message, first; user and assistant take turns, calls and results aside; results in
    the order of their calls; ids of nine letters and digits, each of them once; no other field.
    """
    asked = body["messages"]
    assert [at for at, each in enumerate(asked) if each["role"] == "system"] in ([], [0])
    turns = [
        each["role"]
        for each in asked
        if each["role"] == "user" or (each["role"] == "assistant" and "tool_calls" not in each)
    ]
    assert turns == ["user", "assistant"] * (len(turns) // 2) + ["user"] * (len(turns) % 2), turns
    assert asked[-1]["role"] in ("user", "tool"), "the last word is the assistant's"
    waiting: list[str] = []
    used: set[str] = set()
    for each in asked:
        assert not each.keys() - {"role", "content", "tool_calls", "tool_call_id"}, each.keys()
        if each["role"] == "tool":
            assert each["tool_call_id"] == waiting.pop(0)
            continue
        assert waiting == [], "a call without its result"
        if each["role"] == "assistant":
            assert each["content"] or "tool_calls" in each, "an empty answer"
        for call in each.get("tool_calls", ()):
            assert call.keys() == {"id", "type", "function"}, call.keys()
            assert call["function"].keys() == {"name", "arguments"}
        waiting = [call["id"] for call in each.get("tool_calls", ())]
        assert all(re.fullmatch(NINE, id_) for id_ in waiting), waiting
        assert len({*waiting}) == len(waiting)
        assert not used & {*waiting}
        used |= {*waiting}
    assert waiting == []


class StrictServer:
    """Serves Chat Completions: *check* raises for what is refused, *reply* gives the answer."""

    def __init__(
        self, check: Callable[[dict[str, Any]], None], reply: Callable[[dict[str, Any]], Reply]
    ) -> None:
        self.check = check
        self.reply = reply
        self.asked: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> Reply:
        self.asked.append(body)
        try:
            self.check(body)
        except AssertionError as error:
            self.refused.append(f"{error}: {json.dumps(body['messages'])}")
            return 400, {"error": {"message": f"This is refused: {error}"}}, {}
        return self.reply(body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "StrictServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _handler(server: StrictServer) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one class
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            reply = server.answer(body)
            if isinstance(reply, tuple):
                status, problem, headers = reply
                self._head(status, {"content-type": "application/json", **headers})
                self._end(json.dumps(problem).encode())
                return
            self._head(200, {"content-type": "text/event-stream"})
            with contextlib.suppress(OSError):
                self._stream(reply)
                return
            self.close_connection = True

        def _stream(self, events: Iterable[Any]) -> None:
            for event in events:
                if isinstance(event, threading.Event):
                    event.wait(30)
                else:
                    self._send(f"data: {json.dumps(event)}\n\n".encode())
            self._end(b"data: [DONE]\n\n")

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "transfer-encoding": "chunked"}.items():
                self.send_header(name, value)
            self.end_headers()

        def _send(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def _end(self, data: bytes) -> None:
            self._send(data)
            self.wfile.write(b"0\r\n\r\n")

    return Handler


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk of a stream."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(index: int, id_: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """A whole call, as a delta holds it."""
    function = {"name": tool, "arguments": json.dumps(arguments)}
    return {"index": index, "id": id_, "type": "function", "function": function}
