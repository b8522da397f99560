"""Readers over HTTP: thousands of one web process, and how soon one has the first token."""

import contextlib
import http.client
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from benchmarks.figures import ms
from benchmarks.harness import ROOT, Bench
from benchmarks.speakers import OWNER, Speaker, say_much, say_the_time, speakers
from benchmarks.web import Web, apart, serving
from evented_agent.client.deployment import Deployment
from evented_agent.client.run_stream import RunStream

#: A rate is too high for one process where a hundredth of the events take longer, in seconds.
_TOO_LATE = 1.0


def many(bench: Bench) -> None:
    """Readers of runs that say 200 words a second in all; with stalled ones beside; then more."""
    bench.ledger.client.flushall()
    with (
        apart(bench) as cores,
        serving(bench, cores=cores, stall_seconds=bench.size(20, 2)) as web,
        _sockets(web) as sockets,
    ):
        *some, much = speakers(bench, bench.size(500, 5) + 1)
        # What the first request loads is not the readers'.
        sockets.ask("open", 1, much.run_id)
        crowd = _Crowd(bench, web, sockets, some, bench.size(10, 4))
        crowd.open()
        crowd.at_rate(200)
        _beside_stalled(crowd, much, bench.size(200, 8))
        rate = 400
        while crowd.at_rate(rate) <= _TOO_LATE and not bench.is_quick:
            rate *= 2
        bench.report.value("events lost", crowd.missing, "", wanted="0")
        bench.report.value("connections lost", sum(sockets.lost.values()), "", wanted="0")


def first_token(bench: Bench) -> None:
    """From the call of `stream()` to the first token: at a reader here, and over HTTP."""
    here, over_http = [], []
    with bench.workers(slots=10), serving(bench) as web, ThreadPoolExecutor(2) as threads:
        for n in range(-1, bench.size(100, 5)):
            started = time.perf_counter()
            run = bench.agents["answer"].stream("Go.", resource_id=OWNER)
            both = [
                threads.submit(_here, run),
                threads.submit(_over_http, web.port, run.run_id),
            ]
            first = [each.result() - started for each in both]
            # What the first request loads is not the token's.
            if n >= 0:
                here.append(first[0])
                over_http.append(first[1])
    over = statistics.median(over_http) - statistics.median(here)
    bench.report.samples("first token of a run: reader here", ms(here), "ms")
    bench.report.samples("first token of the same run: over HTTP", ms(over_http), "ms")
    bench.report.value("first token: HTTP over the reader here", over * 1e3, "ms")


@dataclass
class _Sockets:
    """The process that reads."""

    process: "subprocess.Popen[str]"
    lost: dict[str, int] = field(default_factory=dict)

    def ask(self, *words: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def delays(self) -> list[float]:
        """What came since the last time, each by how many seconds late."""
        found = self.ask("look")
        self.lost = found["lost"]
        return list(found["delays"])


class _Crowd:
    """All readers, and what is measured of them, one figure after the other."""

    def __init__(
        self, bench: Bench, web: Web, sockets: _Sockets, speakers: Sequence[Speaker], each: int
    ) -> None:
        self.bench, self.web, self.sockets = bench, web, sockets
        self.at: Deployment = bench.agents["answer"].client
        self.missing = 0
        self._speakers, self._turns, self._each = speakers, cycle(speakers), each

    def open(self) -> None:
        ids = [speaker.run_id for speaker in self._speakers]
        count, report = self._each * len(ids), self.bench.report
        before, started = self.web.memory(), time.monotonic()
        self.sockets.ask("open", self._each, *ids)
        seconds = time.monotonic() - started
        report.value(f"{count:,} readers of {len(ids)} runs: opened", count / seconds, "/s")
        self._say(200, len(ids))
        clients = self.bench.ledger.client.client_list()
        connections = sum(client["name"] == "web" for client in clients)
        report.value("the web process without readers", before / 1024, "MB")
        report.value("memory a reader", (self.web.memory() - before) / count, "KB")
        report.value("connections to Redis", connections, "", wanted="at most 40")

    def at_rate(self, rate: int, beside: str = "") -> float:
        """Let *rate* chunks a second be said; what a hundredth of the delays exceeded, in s."""
        busy, started = self.web.cpu_seconds(), time.monotonic()
        delays, took = self._say(rate, rate * self.bench.size(20, 2))
        busy, passed = self.web.cpu_seconds() - busy, time.monotonic() - started
        report, name = self.bench.report, f"{rate * self._each:,} events/s{beside}"
        said = len(delays) / self._each / took
        note = "" if said > 0.9 * rate else f"{said:,.0f} chunks/s were said"
        report.samples(f"{name}: delay", ms(delays), "ms", note=note)
        share = f"{busy / passed:.0%} of a core"
        report.value(f"{name}: CPU an event", busy / len(delays) * 1e6, "us", note=share)
        return sorted(delays)[math.ceil(len(delays) * 0.99) - 1]

    def _say(self, rate: int, count: int) -> tuple[list[float], float]:
        """Let so many chunks be said: all delays, and the seconds that saying them took."""
        took = say_the_time(self.at, self._turns, rate=rate, count=count)
        found: list[float] = []
        heard = time.monotonic()
        while len(found) < count * self._each and time.monotonic() < heard + 5:
            time.sleep(0.1)
            if more := self.sockets.delays():
                found += more
                heard = time.monotonic()
        self.missing += count * self._each - len(found)
        return found, took


def _beside_stalled(crowd: _Crowd, much: Speaker, count: int) -> None:
    """The same with readers that take nothing of a run that has said much."""
    say_much(crowd.at, much, chunks=400, size=16_384)
    web, report, name = crowd.web, crowd.bench.report, f"{count} stalled readers"
    memory, readers = web.memory(), web.readers()
    crowd.sockets.ask("stall", count, much.run_id)
    # Those that have what a connection holds take no more.
    time.sleep(crowd.bench.size(5, 1))
    report.value(f"{name}: memory of each", (web.memory() - memory) / count, "KB")
    crowd.at_rate(200, f" beside {name}")
    ends = time.monotonic() + 2 * web.stall_seconds
    while web.readers() > readers and time.monotonic() < ends:
        time.sleep(0.1)
    report.value(f"{name}: not cut after a while", web.readers() - readers, "", wanted="0")
    report.value(f"{name}: memory that they leave", (web.memory() - memory) / 1024, "MB")


@contextlib.contextmanager
def _sockets(web: Web) -> Iterator[_Sockets]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sockets", str(web.port)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield _Sockets(process)
    finally:
        process.kill()
        process.communicate()


def _here(run: RunStream[Any]) -> float:
    """When the first token came; reads on to the end, so that the next run finds an idle slot."""
    first = [time.perf_counter() for chunk in run if chunk.type == "text-delta"]
    return first[0]


def _over_http(port: int, run_id: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", f"/runs/{run_id}/stream")
        lines = connection.getresponse()
        first = [time.perf_counter() for line in lines if line == b"event: text-delta\n"]
    return first[0]
