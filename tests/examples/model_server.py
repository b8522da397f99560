"""A model server with OpenAI's Responses API that answers each question as a test says."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """A tool call, as part of an answer; its arguments are JSON."""

    tool: str
    arguments: str = "{}"


@dataclass(frozen=True)
class Failure:
    """The end of an answer that cannot be completed."""

    message: str


#: Text to send, an event to wait for before going on, a tool call, or a failure.
Piece = str | threading.Event | Call | Failure


class ModelServer:
    """Finds the question in the conversation; the n-th answer to it follows n - 1 tool rounds."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], Sequence[Sequence[Piece]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def answers(self, question: str, *answers: Sequence[Piece], told: str = "") -> None:
        """Say what is answered to whatever contains *question*, the last one again and again.

        With *told*, only once the conversation contains that as well.
        """
        self._answers[question, told] = answers

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pieces(self, body: Any) -> Sequence[Piece]:
        given = json.dumps(body["input"])
        rounds = given.count('"function_call_output"')
        known = {key: found for key, found in self._answers.items() if _is_about(key, given)}
        # What is told, the longest first, takes precedence.
        *_, answers = [known[key] for key in sorted(known, key=lambda key: len(key[1]))]
        return answers[min(rounds, len(answers) - 1)]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pieces = self._pieces

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                try:
                    for event in _events(pieces(body)):
                        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                except ConnectionError:
                    # The caller has stopped listening: its run was aborted.
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _is_about(key: tuple[str, str], given: str) -> bool:
    return all(each in given for each in key)


@contextmanager
def held(*gates: threading.Event) -> Iterator[None]:
    """Open the gates afterwards, whatever happened, so that no thread is left waiting."""
    try:
        yield
    finally:
        for gate in gates:
            gate.set()


def _events(pieces: Sequence[Piece]) -> Iterator[dict[str, Any]]:
    for index, piece in enumerate(pieces):
        match piece:
            case str():
                yield _event("output_text.delta", content_index=0, delta=piece)
            case Call():
                item = {
                    "type": "function_call",
                    "id": f"fc_{index}",
                    "call_id": f"call_{index}",
                    "name": piece.tool,
                    "arguments": piece.arguments,
                }
                yield _event("output_item.added", item={**item, "arguments": ""})
                yield _event(
                    "function_call_arguments.delta", item_id=item["id"], delta=piece.arguments
                )
                yield _event("output_item.done", item=item)
            case threading.Event():
                piece.wait(120)
            case Failure():
                error = {"code": "invalid_prompt", "message": piece.message}
                yield {"type": "response.failed", "response": {"status": "failed", "error": error}}
                return
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    yield {"type": "response.completed", "response": {"status": "completed", "usage": usage}}


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": 0, **fields}
