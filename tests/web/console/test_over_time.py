"""A deployment in which 1,000 runs of real dialogs have been, as its overview and lists show it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from evented_agent import (
    Agent,
    InProcessAgent,
    RunFailed,
    Runs,
    RunStream,
    Settings,
    ToolContext,
    create_durable_agent,
)
from evented_agent.ledger.counters import DAY, HOUR
from evented_agent.models.messages import ToolMessage, UserMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from evented_agent.web import create_app
from tests.http.conftest import Served, serving
from tests.support.operators import known_operator
from tests.support.servers import RedisServer
from tests.support.workers import wait_until
from tests.web.console.pages import OpenAt, Scheme, is_fit
from tests.workload.dialogs import Call, apply, dialogs, simulators
from tests.workload.player import HEADING, closing_words
from tests.workload.tools import all_tools

RUNS, AT_ONCE = 1_000, 50
VIEWS = {
    "busy": "/console",
    "busy-day": "/console?over=day",
    "busy-runs": "/console/runs",
    "busy-failed": "/console/runs?status=failed",
    "busy-threads": "/console/threads",
    "busy-thread": "/console/threads/multi_turn_base_7?resource_id=res-2",
}


@dataclass
class Assistant:
    """Answers the questions of dialogs as their ground truth does, with all of their tools."""

    simulated: dict[str, dict[str, Any]] = field(default_factory=dict)

    def agent(self) -> Agent:
        model = ScriptedModel([self.next_calls], name="openai/gpt-5.5")
        return Agent(id="assistant", model=model, tools=all_tools(self.act), max_steps=30)

    def next_calls(self, request: ModelRequest) -> Any:
        """One call at a time; the last user message names the dialog and the turn."""
        last = max(n for n, each in enumerate(request.messages) if isinstance(each, UserMessage))
        asked = str(request.messages[last].content)  # type: ignore[union-attr]
        dialog, turn = asked.partition("]")[0].lstrip("[").split(" turn ")
        calls = dialogs()[dialog].turns[int(turn)]
        done = sum(isinstance(each, ToolMessage) for each in request.messages[last:])
        if done == len(calls):
            return closing_words(dialog, int(turn))
        if dialog.endswith("9") and turn == "1":
            raise RuntimeError("The model of this deployment was switched off.")
        return [tool_call(calls[done].name, **calls[done].arguments)]

    def act(self, ctx: ToolContext, call: Call) -> str:
        dialog = dialogs()[ctx.context["dialog"]]
        at = self.simulated.setdefault(ctx.context["scope"], {})
        return apply(dialog, at.setdefault(dialog.id, simulators(dialog)), call)


def turns() -> Iterator[tuple[str, int]]:
    """The first turn of each dialog, then the second of each …"""
    most = max(len(dialog.turns) for dialog in dialogs().values())
    for turn in range(most):
        for dialog in dialogs().values():
            if turn < len(dialog.turns):
                yield dialog.id, turn


def begin(engine: InProcessAgent, number: int, dialog: str, turn: int) -> RunStream:
    """Ask a question of a dialog, in a thread of it; from the beginning again after the last."""
    of = dialogs()[dialog]
    scope = "" if number < sum(len(each.turns) for each in dialogs().values()) else "-again"
    return engine.stream(
        f"{HEADING.format(dialog=dialog, turn=turn)} {of.questions[turn]}",
        thread_id=f"{dialog}{scope}",
        resource_id=f"res-{int(dialog.rpartition('_')[2]) % 5}",
        context={"dialog": dialog, "scope": scope},
        when_busy="parallel",
    )


def spread_over_time(server: RedisServer, runs: Runs) -> None:
    """Store what was counted as if it had been done all over the hour and the day."""
    chance = random.Random(7)
    with server.client() as client:
        seconds, micros = client.time()
        now = 1000 * seconds + micros // 1000
        for of in (HOUR, DAY):
            total: dict[bytes, bytes] = client.hgetall(runs.keys.counters())
            period, at = divmod(now, of.span_ms)
            last = of.steps + at // of.step_ms
            for stretch in range(last - of.steps + 1, last + 1):
                half, number = divmod(stretch, of.steps)
                key = runs.keys.counters(f"{of.name}:{(period - 1 + half) % 2}")
                busy = chance.random() if stretch % 9 else 0.0
                fields: dict[Any, Any] = {
                    f"{number} {name.decode()}": int(int(value) * busy / 20)
                    for name, value in total.items()
                }
                for name in ("answer", "run", "queue_wait"):
                    fields[f"{number} {name}_peak_ms assistant"] = int(3000 * busy)
                for name in ("retries", "runs_failed"):
                    fields[f"{number} {name} assistant"] = int(4 * busy * chance.random())
                client.hset(key, mapping={**fields, "period": period - 1 + half})
                client.pexpire(key, 600_000)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with RedisServer(tmp_path_factory.mktemp("busy"), aof=False) as server:
        settings = Settings(prefix="busy")
        # Playwright has an event loop in this thread.
        engine = create_durable_agent(
            Assistant().agent(), redis_url=server.url, settings=settings, allow_blocking=True
        )
        asked = list(islice(cycle(turns()), RUNS))
        for first in range(0, RUNS, AT_ONCE):
            begun = [
                begin(engine, number, *asked[number]) for number in range(first, first + AT_ONCE)
            ]
            for run in begun:
                try:
                    run.result(60)
                except RunFailed:
                    continue
        runs = engine.client

        def ended() -> int:
            found = runs.metrics().counters
            return sum(
                sum(found.get(f"runs_{each}", {}).values()) for each in ("finished", "failed")
            )

        wait_until(lambda: ended() == RUNS, "all ends are counted")
        spread_over_time(server, runs)
        with serving(create_app(runs, authorize=known_operator)) as served:
            yield served
        engine.close()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_busy_deployment_fits_its_pages(
    open_at: OpenAt, busy: Served, pictures: Path, problems: list[str], width: int, scheme: Scheme
) -> None:
    size = {"width": width, "height": 1400}
    page = open_at(busy, "/console", "admin", viewport=size, color_scheme=scheme)
    for name, path in VIEWS.items():
        page.goto(path)
        is_fit(page, pictures / f"console-{name}-{width}-{scheme}.png", width, problems)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_an_empty_deployment_fits_its_pages(
    open_at: OpenAt,
    redis_server: RedisServer,
    pictures: Path,
    problems: list[str],
    width: int,
    scheme: Scheme,
) -> None:
    runs = Runs(redis_server.url, settings=Settings(prefix="empty"))
    with serving(create_app(runs, authorize=known_operator)) as served:
        size = {"width": width, "height": 800}
        page = open_at(served, "/console", "admin", viewport=size, color_scheme=scheme)
        for name in ("", "/runs", "/inbox", "/threads", "/fleet"):
            page.goto(f"/console{name}")
            picture = f"console-empty{name.replace('/', '-')}-{width}-{scheme}.png"
            is_fit(page, pictures / picture, width, problems)


def numbers_are_read(page: Page) -> None:
    page.keyboard.press("Enter")
    expect(page.locator(".numbers table")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".numbers .wide")).to_be_focused()


def test_what_was_over_time_is_read_by_keyboard(open_at: OpenAt, busy: Served) -> None:
    page = open_at(busy, "/console", "admin")
    page.locator(".switch a", has_text="Last 24 hours").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".switch a[aria-current]")).to_have_text("Last 24 hours")
    assert page.url.endswith("/console?over=day")
    page.locator(".numbers summary").focus()
    numbers_are_read(page)
