"""What a request, and a person, may take; and what hostile clients are answered."""

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from evented_agent import InProcessAgent, Runs, Settings
from evented_agent.web import Limits, create_app
from tests.http.agents import talker
from tests.http.conftest import Serve, Served, authorize
from tests.http.requests import call, read, reading, start, until, until_type
from tests.support.servers import RedisServer
from tests.support.workers import wait_until


def exchange(served: Served, *pieces: bytes) -> bytes:
    """Send raw bytes; all that comes back until the server closes."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while data := connection.recv(65536):
            found += data
        return found


def get(path: str, *headers: bytes) -> bytes:
    lines = [f"GET {path} HTTP/1.1".encode(), b"connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


ANN = (b"host: here", b"authorization: Bearer ann")


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: here",
        "authorization: Bearer ann",
        "connection: close",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def small(durable: InProcessAgent) -> Iterator[Served]:
    """A server with little patience."""
    from tests.http.conftest import serving

    limits = Limits(message=1000, body=2000, streams=2, live_runs=3, body_seconds=0.2)
    with serving(create_app(durable.client, authorize=authorize, limits=limits)) as served:
        yield served


def test_a_body_that_is_too_large_is_refused_before_it_is_read(served: Served) -> None:
    head = post("/runs", b"").replace(b"content-length: 0", b"content-length: 1000001")

    assert exchange(served, head).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_grows_too_large_is_refused_while_it_is_read(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(11):
            yield b" " * 100_000

    reply = served.as_("ann").post("/runs", content=pieces())

    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_headers_that_are_too_large_are_refused(ann: httpx.Client) -> None:
    assert ann.get("/health", headers={"x-long": "x" * 16_000}).status_code == 200
    reply = ann.get("/health", headers={"x-long": "x" * 16_400})
    assert (reply.status_code, reply.json()["error"]["code"]) == (431, "headers_too_large")


def test_a_message_that_is_too_large_is_refused(ann: httpx.Client) -> None:
    def status(input: Any) -> int:
        return ann.post("/runs", json={"agent": "talker", "input": input}).status_code

    long = "x" * 262_145
    assert status(f"say {long}") == status([{"role": "user", "content": long}]) == 413
    parts = [{"role": "user", "content": "say " + "x" * 200_000}] * 2
    assert status(parts) == 202


def test_a_body_that_does_not_arrive_is_given_up(small: Served) -> None:
    begun = post("/runs", b"").replace(b"content-length: 0", b"content-length: 100")

    assert exchange(small, begun, b"{").startswith(b"HTTP/1.1 408 ")


def test_one_person_has_so_many_streams_and_is_told_by_head_as_well(small: Served) -> None:
    ann, bob = small.as_("ann"), small.as_("bob")
    run_id = start(ann, call("hold", name="streams"))
    theirs = start(bob, call("hold", name="streams"))

    with ExitStack() as stack:
        # What nobody holds any more, httpx closes.
        readers = [stack.enter_context(reading(ann, run_id)) for _ in range(2)]
        for lines in readers:
            until_type(lines, "tool-call")
        refused = ann.get(f"/runs/{run_id}/stream")
        asked = ann.head(f"/runs/{run_id}/stream")
        # Others are not concerned.
        with reading(bob, theirs) as lines:
            until_type(lines, "tool-call")

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
    assert (asked.status_code, asked.headers["retry-after"]) == (429, "5")

    def is_free() -> bool:
        return ann.head(f"/runs/{run_id}/stream").status_code == 200

    wait_until(is_free, "the places are free again")
    assert ann.post(f"/runs/{run_id}/abort").status_code == 202
    assert bob.post(f"/runs/{theirs}/abort").status_code == 202
    until(bob, theirs, "aborted")


def test_one_person_has_so_many_live_runs(small: Served) -> None:
    bob, ann = small.as_("bob"), small.as_("ann")
    body = {"agent": "talker", "input": call("erase", name="it")}
    keyed = {"idempotency-key": "the last one"}
    started = [start(bob, body["input"]) for _ in range(2)]
    started.append(bob.post("/runs", json=body, headers=keyed).json()["run_id"])

    refused = bob.post("/runs", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_runs")
    assert refused.headers["retry-after"] == "10"
    # What was started is found, not refused.
    assert bob.post("/runs", json=body, headers=keyed).json()["run_id"] == started[-1]
    assert ann.post("/runs", json={**body, "input": "say Hi."}).status_code == 202
    for run_id in started:
        bob.post(f"/runs/{run_id}/abort")
        until(bob, run_id, "aborted")
    assert bob.post("/runs", json={**body, "input": "say Hi."}).status_code == 202


@pytest.mark.parametrize(
    "raw",
    [
        get("/runs/%00", *ANN),
        get("/runs/%ff%fe/stream", *ANN),
        get("/runs/..%2f..%2fetc", *ANN),
        get("/threads/%0a%0adata:%20x", *ANN),
        get("/runs?thread_id=%ed%a0%80", *ANN),
        get("/runs?token=%ff", b"host: here"),
        get("/runs/x/stream", *ANN, b"last-event-id: \xff\xb2"),
        get("/health"),
        post("/runs", b'{"agent": "talker", "input": "\\ud800"}'),
        post("/runs", b'{"agent": "talker", "input": "x", "run_id": "\xc3\x28"}'),
        post("/runs", b'{"agent": "talker", "input": "say x", "thread_id": "\\u0000"}'),
        post("/runs", b'{"agent": "talker", "input": [[[[[[]]]]]]}'),
        post("/runs", b'{"agent": "talker", "input": {"a": 1e999}}'),
        post("/runs", b"{}", "content-encoding: gzip"),
        post("/runs", b"\x1f\x8b\x08\x00", "content-encoding: gzip"),
        post("/runs/x/approve", b'{"number": 1e400}'),
        post("/runs/x/approve", b'{"number": 99999999999999999999999999}'),
        post("/threads/" + "x" * 4000 + "/token", b"{}"),
    ],
    ids=lambda raw: str(raw[:60]),
)
def test_odd_requests_are_answered_with_no_error_of_ours(
    raw: bytes, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    status = int(exchange(served, raw).split(b" ", 2)[1])

    assert 200 <= status < 500, status
    assert "A request failed" not in caplog.text
    assert served.as_("").get("/health").status_code == 200


@pytest.mark.parametrize("path", ["runs", "pending", "threads", "cost"])
def test_zeros_in_front_do_not_hide_how_much_is_asked_for(ann: httpx.Client, path: str) -> None:
    assert ann.get(f"/{path}?limit=000000200").status_code == 200
    for limit in ("00000000" + "1000", "00000000" + "1" * 5000):
        refused = ann.get(f"/{path}?limit={limit}")
        assert refused.status_code == 400, refused.text
        assert "use a number from 1 to 200" in refused.json()["error"]["message"]


@pytest.mark.parametrize("path", ["runs", "threads", "cost", "console/runs", "console/threads"])
def test_a_page_of_a_time_that_never_was_is_refused(served: Served, path: str) -> None:
    refused = served.as_("operator").get(f"/{path}?page={'9' * 5000}.x")
    assert refused.status_code == 400
    assert "pass the next_page of the page before" in refused.text


def test_what_is_said_cannot_make_events_of_its_own(ann: httpx.Client) -> None:
    evil = "one\n\nid: 999-0\nevent: finish\ndata: {}\n\ntwo\r\nthree\u2028four\x85five"
    run_id = start(ann, f"say {evil}")

    events = read(ann, run_id)

    assert [int(id_.partition("-")[0]) for id_, _ in events] == list(range(1, len(events) + 1))
    text = "".join(d["payload"]["text"] for _, d in events if d["type"] == "text-delta")
    assert text == evil


def test_a_connection_that_is_only_half_open_takes_no_place_for_long(
    durable: InProcessAgent, serve: Serve
) -> None:
    """Who reads nothing is cut, and what it would have read waits in Redis, not here."""
    limits = Limits(streams=1, stall_seconds=0.3)
    app = create_app(durable.client, authorize=authorize, limits=limits)
    app._site = dataclasses.replace(app._site, heartbeat=0.05)
    served = serve(app)
    ann = served.as_("ann")
    run_id = start(ann, "say " + "word " * 40_000)
    until(ann, run_id, "finished")
    host, port = served.url.removeprefix("http://").split(":")

    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect((host, int(port)))
        path = f"GET /runs/{run_id}/stream HTTP/1.1"
        stalled.sendall(f"{path}\r\nhost: here\r\nauthorization: Bearer ann\r\n\r\n".encode())
        wait_until(
            lambda: ann.head(f"/runs/{run_id}/stream").status_code == 429, "it has its place"
        )
        wait_until(
            lambda: ann.head(f"/runs/{run_id}/stream").status_code == 200, "its place is free"
        )


def test_while_redis_is_away_all_is_503_and_comes_back(tmp_path: Path, serve: Serve) -> None:
    settings = Settings(prefix="away", retry_for=0.1)
    with RedisServer(tmp_path) as server:
        runs = Runs(server.url, settings=settings)
        runs.add(talker)
        served = serve(create_app(runs, authorize=authorize))
        ann = served.as_("ann")
        run_id = start(ann, "say Hi.")
        # On disk: what is killed loses its last second. A client waits for writes of its own.
        disk = server.client()
        disk.set("written", "last")
        assert disk.waitaof(1, 0, 10_000)[0] == 1
        server.kill()

        body = {"agent": "talker", "input": "say Hi."}
        replies = [
            ann.post("/runs", json=body),
            ann.get(f"/runs/{run_id}"),
            ann.get(f"/runs/{run_id}/stream"),
            ann.post(f"/runs/{run_id}/abort"),
            ann.get("/pending"),
            served.as_("").get("/ready"),
        ]
        assert {reply.status_code for reply in replies} == {503}
        assert {reply.headers["retry-after"] for reply in replies} == {"2"}
        assert all("127.0.0.1" not in reply.text for reply in replies)
        assert served.as_("").get("/health").status_code == 200
        server.start()
        assert ann.get(f"/runs/{run_id}").status_code == 200
        assert served.as_("").get("/ready").status_code == 200


def test_a_reader_that_goes_leaves_the_run_alone(ann: httpx.Client) -> None:
    run_id = start(ann, call("hold", name="left"))
    with reading(ann, run_id) as lines:
        until_type(lines, "tool-call")

    assert ann.get(f"/runs/{run_id}").json()["status"] == "running"
    ann.post(f"/runs/{run_id}/abort")
