"""Requests that nobody sends by mistake: some thousand, by kind.  None is an error of ours."""

import gzip
import itertools
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from evented_agent import InProcessAgent, Runs, Settings
from evented_agent.chunks.codec import encode
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import RunEnd
from evented_agent.web import Limits, create_app
from evented_agent.web.table import FACES, ROUTES
from tests.http.agents import talker
from tests.http.conftest import KEY, Serve, Served, authorize
from tests.http.requests import call, start, until
from tests.support.driver import Driver
from tests.support.servers import RedisServer

#: As segments of a path.
ODD_IDS = [
    *("%00", "x%00y", "%2F", "..%2f..%2fetc%2fpasswd", ".", "..", "...", "%2e%2e", "%252e%252e"),
    *("%0d%0ax-injected:%20yes", "%0a%0adata:%20{}", "%e2%80%a8", "%c2%85", "%7f", "%1b[2J"),
    *("%F0%9F%92%A9", "%ff%fe", "%ed%a0%80", "%c0%af", "%", "%zz", "%u0041", "a%20b", "a+b", "-"),
    *("*", "{run_id}", "ea:{0}:x:run", "$(id)", "';--", "%3Cscript%3E", "null", "0", "-1", "1e999"),
    *("x" * 129, "x" * 10_000, "%41" * 3_000, "\u00e9".encode("latin-1").decode("latin-1")),
]
#: As values of a query or of a header.
#: Routes of all protocols; what follows a conversation never ends, so its HEAD stands for both.
TRIED = [
    route
    for route in (*ROUTES, *(route for face in FACES for route in face.routes))
    if (route.method, route.path) != ("GET", "/threads/{thread_id}/stream")
]
ODD_VALUES = [
    *("", "%00", "%ff", "%ed%a0%80", "%0d%0ax-injected:%20yes", "1e999", "-1", "0", "NaN", "true"),
    *(
        "9" * 400,
        "9" * 5_000,
        "1-",
        "-1-1",
        "1-1-1",
        "0x10",
        "%D9%A3",
        "%C2%B2",
        "[]",
        "{}",
        "null",
    ),
    *(
        "2020-13-99",
        "2020-01-01T99:00Z",
        "9999999999999",
        "-9999999999999",
        "%F0%9F%92%A9",
        "a&b=c",
    ),
]
_DEEP = [
    *(b"[" * depth + b"]" * depth for depth in (65, 200, 1_000, 50_000)),
    *(b'{"a":' * depth + b"1" + b"}" * depth for depth in (65, 200, 1_000, 50_000)),
]
#: As JSON values.
ODD_JSON = [
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"1e-999",
        b"9" * 5_000,
        b"-0",
        b"01",
    ),
    *(
        b'"\\ud800"',
        b'"\\udfff\\ud800"',
        b'"\\u0000"',
        b'"\x00"',
        b'"\xff"',
        b'"\xc3\x28"',
        b'"\n"',
    ),
    *(b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\\x41"', b"'x'", b"undefined", b"true", b"null"),
    *(b"[]", b"{}", b'""', b'{"":1}', b'{"a":1,"a":2}', b'{"\\ud800":1}', b'{"__proto__":{}}'),
    *_DEEP,
]
#: As whole bodies.
ODD_BODIES = [
    *(b"{", b"}", b"[1,", b"\x00", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32")),
    *(gzip.compress(b"{}"), b"a=b&c=d", b"--x\r\n\r\n{}\r\n--x--", b"<xml/>", b"{} {}", b"{}\n{}"),
    *(b'{"input": "x"' + b" " * 1_000, b"\r\n" * 500, b"[" * 400_000, b'{"a":"' + b"\\" * 9_999),
]
ODD_HEADERS: list[Sequence[bytes]] = [
    *(
        [b"content-type: " + kind]
        for kind in (b"", b"text/plain; charset=utf-16", b"a/b; charset=x")
    ),
    *([b"content-encoding: " + kind] for kind in (b"gzip", b"br", b"gzip, gzip", b"\xff")),
    *([b"accept-encoding: " + kind] for kind in (b"gzip;q=nan", b"*", b"\xff")),
    *([b"cookie: " + kind] for kind in (b"who", b"who=\xff", b"=;=;=", b"who=" + b"x" * 9_000)),
    *([b"origin: " + kind] for kind in (b"null", b"http://[", b"\xff", b"https://a:b@c:99999")),
    *(
        [b"host: " + kind]
        for kind in (b"", b"[::1", b"a b", b"\xff", b"x" * 5_000, b"here:99999999")
    ),
    *([b"last-event-id: " + kind] for kind in (b"\xb2", b"1-\xff", b"9" * 9_000, b"1-1\x0b", b"-")),
    *([b"idempotency-key: " + kind] for kind in (b"\xff\xfe", b"x" * 256, b"x" * 9_000, b" ")),
    *([b"authorization: " + kind] for kind in (b"\xff", b"Bearer", b"Bearer " + b"x" * 9_000)),
    [b"expect: 100-continue"],
    [b"expect: 200-please"],
    [b"connection: close, upgrade", b"upgrade: websocket", b"sec-websocket-version: 13"],
    [b"connection: close, upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMA"],
    [b"x-forwarded-for: \xff, 1.2.3.4", b"x-forwarded-proto: javascript"],
    [b"sec-fetch-site: cross-site"],
    [b"x-long: " + b"x" * 60_000],
    [b"x-%d: y" % n for n in range(1_500)],
    [b"range: bytes=0-0", b"if-none-match: *"],
]
#: What is no HTTP, or two readings of it.
ODD_HEADS = [
    b"\r\n\r\n",
    b"\x00" * 100 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /health\r\n\r\n",
    b"GET /health HTTP/0.9\r\n\r\n",
    b"GET /health HTTP/9.9\r\nhost: here\r\n\r\n",
    b"GET  /health HTTP/1.1\r\nhost: here\r\n\r\n",
    b"GET /health HTTP/1.1\nhost: here\nconnection: close\n\n",
    b"GET /health HTTP/1.1\r\nhost : here\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: here\r\n folded: yes\r\nconnection: close\r\n\r\n",
    b"GET /health HTTP/1.1\r\nx-nul: a\x00b\r\n\r\n",
    b"GET /health HTTP/1.1\r\n: no name\r\n\r\n",
    b"GET http://[::1/health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    b"GET http://evil.example/health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    b"GET * HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    b"CONNECT here:443 HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    b"GET " + b"/x" * 40_000 + b" HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    b"GET /health\xff HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nhost: here\r\ncontent-length: -1\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nhost: here\r\ncontent-length: 1e3\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nhost: here\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    b"POST /runs HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    b"POST /runs HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    b"POST /runs HTTP/1.1\r\nhost: here\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    *(
        method + b" /runs HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        for method in (b"TRACE", b"PUT", b"PATCH", b"PROPFIND", b"get", b"FOO", b"\xff", b"G" * 500)
    ),
]


def request(method: str, target: str, body: bytes = b"", headers: Sequence[bytes] = ()) -> bytes:
    """A request of Ann's, as bytes; *headers* take the place of those that every one has."""
    own = [b"host: here", b"authorization: Bearer ann", b"connection: close"]
    given = {line.partition(b":")[0] for line in headers}
    lines = [line for line in own if line.partition(b":")[0] not in given]
    length = [b"content-length: %d" % len(body)] if body or method in ("POST", "DELETE") else []
    head = [f"{method} {target} HTTP/1.1".encode("latin-1"), *lines, *length, *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def targets(run_id: str) -> Iterator[tuple[str, str]]:
    """Each route about a run or a conversation, of that id."""
    for route in TRIED:
        if "{" in route.path:
            yield route.method, re.sub(r"\{\w+\}", lambda _: run_id, route.path)


def odd_ids() -> Iterator[bytes]:
    for odd in ODD_IDS:
        for method, target in targets(odd):
            yield request(method, target, b'{"data": 1}' if target.endswith("resume") else b"")


def odd_queries() -> Iterator[bytes]:
    for route, odd in itertools.product(TRIED, ODD_VALUES):
        path = re.sub(r"\{\w+\}", "x", route.path)
        for name in route.query:
            yield request(route.method, f"{path}?{name}={odd}")
    for odd in ODD_VALUES:
        for query in (f"token={odd}", f"{odd}={odd}", f"limit=1&limit={odd}", f"?&&=&;{odd}"):
            yield request("GET", f"/runs?{query}", headers=[b"authorization: none"])
            yield request("GET", f"/runs/x/stream?{query}")


def odd_values_of_fields() -> Iterator[bytes]:
    for route, odd in itertools.product(TRIED, ODD_JSON):
        path = re.sub(r"\{\w+\}", "RUN", route.path)
        for name in {**(route.body or {}), **({"unknown": {}} if route.body else {})}:
            fields = {"agent": b'"talker"', "input": b'"say Hi."'}
            own = (route.body or {}) if "input" in route.needs else {}
            kept = {each: fields[each] for each in fields if each in own} | {name: odd}
            pairs = (b'"%s":%s' % (each.encode(), value) for each, value in kept.items())
            yield request(route.method, path, b"{" + b",".join(pairs) + b"}")


def odd_messages() -> Iterator[bytes]:
    for odd in ODD_JSON:
        for message in (
            b'{"role":%s,"content":"x"}',
            b'{"role":"user","content":%s}',
            b'{"role":"user","content":[%s]}',
            b'{"role":"user","content":[{"type":"text","text":%s}]}',
            b'{"role":"user","content":[{"type":"image_url","image_url":%s}]}',
            b'{"role":"user","content":"say Hi.","extra":%s}',
        ):
            said = b'"input":[' + message % odd + b"]}"
            yield request("POST", "/runs", b'{"agent":"talker",' + said)
            yield request("POST", "/runs/RUN/messages", b"{" + said)


def odd_bodies() -> Iterator[bytes]:
    for route, body in itertools.product(TRIED, ODD_BODIES):
        path = re.sub(r"\{\w+\}", "x" if route.method == "DELETE" else "RUN", route.path)
        yield request(route.method, f"{path}?close_on_suspend=true", body)
    for coding, kind in itertools.product(
        (b"gzip", b"deflate", b"br"), (b"", b"utf-16", b"latin-1")
    ):
        headers = [b"content-encoding: " + coding, b"content-type: text/plain; charset=" + kind]
        yield request("POST", "/runs", gzip.compress(b"{}" * 999), headers)


def odd_headers() -> Iterator[bytes]:
    for headers in ODD_HEADERS:
        yield request("GET", "/runs", headers=headers)
        yield request("GET", "/runs/RUN/stream?close_on_suspend=true", headers=headers)
        yield request("OPTIONS", "/runs", headers=headers)
        yield request("POST", "/runs", b'{"agent":"talker","input":"say Hi."}', headers)


KINDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "ids": odd_ids,
    "queries": odd_queries,
    "fields": odd_values_of_fields,
    "messages": odd_messages,
    "bodies": odd_bodies,
    "headers": odd_headers,
    "heads": lambda: iter(ODD_HEADS),
}


@dataclass
class Answers:
    """What came back: statuses, and what must not."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[tuple[bytes, bytes]] = field(default_factory=list)

    def take(self, sent: bytes, answer: bytes, *, may: Callable[[int, bytes], bool]) -> None:
        answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        # A head that is none may be answered by the end of the connection.
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.1 ") else 0
        self.statuses[status] += 1
        has_leaked = any(each in body for each in (b"Traceback", b"site-packages", b".py"))
        if not may(status, head) or b"\nx-injected" in head.lower() or has_leaked:
            self.wrong.append((sent[:200], answer[:400]))


def send_all(served: Served, sent: Iterator[bytes], may: Callable[[int, bytes], bool]) -> Answers:
    host, port = served.url.removeprefix("http://").split(":")
    answers = Answers()
    for raw in sent:
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            found = b""
            try:
                connection.sendall(raw)
                if b"connection: close" not in raw:
                    # Perhaps it waits for more.
                    connection.shutdown(socket.SHUT_WR)
                while data := connection.recv(65536):
                    found += data
            except (ConnectionResetError, BrokenPipeError):
                # It was refused before it was read.
                pass
        answers.take(raw, found, may=may)
    return answers


def no_error_of_ours(status: int, _: bytes) -> bool:
    return status < 500


@pytest.fixture
def waiting(served: Served) -> str:
    """A run of Ann's that waits for her, so that decisions are looked at closely."""
    run_id = start(served.as_("ann"), call("ask", question="Who?"))
    until(served.as_("ann"), run_id, "suspended")
    return run_id


@pytest.fixture
def all_allowed(durable: InProcessAgent, serve: Serve) -> Served:
    """No limit of runs stands before what is to be tried."""
    limits = Limits(live_runs=100_000)
    app = create_app(durable.client, authorize=authorize, token_keys=[KEY], limits=limits)
    return serve(app)


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_is_an_error_of_ours_whatever_it_holds(
    kind: str, all_allowed: Served, waiting: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = (raw.replace(b"RUN", waiting.encode()) for raw in KINDS[kind]())

    answers = send_all(all_allowed, sent, no_error_of_ours)

    print(f"{kind}: {answers.statuses.total()} requests, {dict(answers.statuses)}")
    assert answers.wrong == []
    assert "A request failed" not in caplog.text
    assert all_allowed.as_("").get("/health").status_code == 200


def test_while_redis_is_away_all_is_refused_or_asked_to_come_back(
    tmp_path: Path, serve: Serve
) -> None:
    """Only 503 with Retry-After, and what is wrong anyway; no other 5xx, ever."""
    settings = Settings(prefix="away", retry_for=0.01)
    with RedisServer(tmp_path) as server:
        runs = Runs(server.url, settings=settings)
        runs.add(talker)
        served = serve(create_app(runs, authorize=authorize, token_keys=[KEY]))
        server.kill()
        fields = {"agent": "talker", "input": "say Hi.", "data": 1, "title": "A title"}
        right = [
            request(
                route.method,
                re.sub(r"\{\w+\}", "x", route.path),
                json.dumps({name: fields[name] for name in fields if name in route.body}).encode()
                if route.body is not None
                else b"",
            )
            for route in ROUTES
        ]

        answers = send_all(served, iter(right), _unavailable)
        odd = itertools.chain(odd_ids(), odd_bodies(), odd_headers())
        others = send_all(served, itertools.islice(odd, 0, None, 7), _unavailable)

        # What asks Redis for nothing, or this caller for more than she may.
        no_need = ("/health", "/threads/{thread_id}/token", "/workers", "/metrics", "/metrics.json")
        assert answers.wrong == others.wrong == []
        assert answers.statuses[503] == sum(route.path not in no_need for route in ROUTES)
        server.start()
        assert served.as_("ann").get("/runs").status_code == 200


def _unavailable(status: int, head: bytes) -> bool:
    return status < 500 or (status == 503 and b"\nretry-after: " in head.lower())


#: Ends of lines for one client or another.
LINE_ENDS = ["\r\n", *"\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]
EVIL = [f"a{end}{end}id: 9-9{end}event: finish{end}data: {{}}{end}{end}b" for end in LINE_ENDS]


def test_nothing_that_is_said_makes_events_of_its_own(
    durable: InProcessAgent, served: Served
) -> None:
    """Texts, names of types, ids of parts and calls, agents, errors: whoever wrote them."""
    url = durable.client.redis_url
    driver = Driver(Ledger(url), Keys("http.talker", 1))
    for n, evil in enumerate(EVIL):
        run_id = f"evil-{n}"
        driver.create(run_id)
        task = driver.granted(run_id)
        chunks = [
            encode("text-delta", evil, {"id": evil, "text": evil}),
            encode(f"data-{evil}", "1:model", {evil: evil}),
            encode("tool-call", "1:model", {"toolCallId": evil, "toolName": evil, "args": evil}),
            "no json " + evil,
        ]
        end = encode("error", None, {"error": {"name": evil, "message": evil}})
        how = RunEnd("failed", "error", {"name": evil, "message": evil})
        driver.committed(task, chunks=[*chunks, end], finish=how)

        reply = served.as_("service").get(f"/runs/{run_id}/stream")

        assert reply.status_code == 200, reply.text
        count = len(chunks) + 2
        for lines in (reply.text.splitlines(), re.split("\r\n|\r|\n", reply.text)):
            ids = [line for line in lines if line.startswith("id:")]
            assert [int(line[3:].partition("-")[0]) for line in ids] == list(range(1, count + 1))
            assert sum(line.startswith("event:") for line in lines) == count
            data = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
            assert data[1]["payload"]["text"] == evil
            assert data[-1]["payload"]["error"]["message"] == evil
            assert data[-1]["type"] == "error"


def test_half_a_thousand_heads_that_never_end_keep_nobody_else_waiting(served: Served) -> None:
    """What bounds them is a server in front, or the limit of open files; see docs/http.md."""
    host, port = served.url.removeprefix("http://").split(":")
    ann = served.as_("ann")
    with ExitStack() as stack:
        for n in range(500):
            half = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            half.sendall(b"GET /runs HTTP/1.1\r\nhost: here\r\nx-slow: " + b"x" * (n % 50))
        run_id = start(ann, "say Hi.")
        until(ann, run_id, "finished")
        assert "event: finish" in ann.get(f"/runs/{run_id}/stream").text


def test_starts_at_the_same_moment_pass_the_limit_of_live_runs_by_as_many_at_the_most(
    durable: InProcessAgent, serve: Serve
) -> None:
    most, at_once = 3, 12
    app = create_app(durable.client, authorize=authorize, limits=Limits(live_runs=most))
    served = serve(app)
    bob = served.as_("bob")
    body = {"agent": "talker", "input": call("erase", name="it")}
    replies: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: replies.append(bob.post("/runs", json=body)))
        for _ in range(at_once)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)

    started = [reply.json()["run_id"] for reply in replies if reply.status_code == 202]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert len(started) + len(refused) == at_once
    assert all("retry-after" in reply.headers for reply in refused)
    assert most <= len(started) <= most + at_once
    assert bob.post("/runs", json=body).status_code == 429
    for run_id in started:
        bob.post(f"/runs/{run_id}/abort")
        until(bob, run_id, "aborted")
