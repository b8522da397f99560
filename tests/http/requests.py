"""What the tests of the HTTP API send again and again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.support.workers import wait_until


def start(client: httpx.Client, input: Any, **fields: Any) -> str:
    """Start a run of the talker; its id."""
    reply = client.post("/runs", json={"agent": "talker", "input": input, **fields})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["run_id"])


def call(tool: str, **arguments: Any) -> str:
    """What makes the talker call a tool."""
    return f"{tool} {json.dumps(arguments)}"


def until(client: httpx.Client, run_id: str, status: str) -> dict[str, Any]:
    """Wait for a status; the run then."""
    found: dict[str, Any] = {}

    def is_there() -> bool:
        found.update(client.get(f"/runs/{run_id}").json())
        return found.get("status") == status

    wait_until(is_there, f"{run_id} is {status}")
    return found


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The id and the JSON of each event of a stream."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(
            line.split(": ", 1) for line in block.splitlines() if line[:1] not in ("", ":")
        )
        # What says when to come back is no event.
        if lines.pop("retry", None) is None and lines:
            assert list(lines) == ["id", "event", "data"], block
            found.append((lines["id"], json.loads(lines["data"])))
    return found


def read(client: httpx.Client, run_id: str, **query: str) -> list[tuple[str, dict[str, Any]]]:
    """All events of a run, up to its end."""
    reply = client.get(f"/runs/{run_id}/stream", params=query)
    assert reply.status_code == 200, reply.text
    return events_of(reply.text)


@contextmanager
def reading(client: httpx.Client, run_id: str, **query: str) -> Iterator[Iterator[str]]:
    """The lines of a stream while it is open."""
    with client.stream("GET", f"/runs/{run_id}/stream", params=query) as reply:
        assert reply.status_code == 200, reply.read()
        yield reply.iter_lines()


def until_type(lines: Iterator[str], wanted: str) -> list[dict[str, Any]]:
    """Read until an event of that type; all that came."""
    seen = []
    for line in lines:
        if line.startswith("data: "):
            seen.append(json.loads(line[6:]))
            if seen[-1]["type"] == wanted:
                return seen
    raise AssertionError(f"No {wanted!r} came: {[each['type'] for each in seen]}")


def text_of(events: list[tuple[str, dict[str, Any]]]) -> str:
    return "".join(data["payload"]["text"] for _, data in events if data["type"] == "text-delta")
