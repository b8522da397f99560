"""100,000 runs are stored: the list of them comes as fast as that of a few."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, expect

from evented_agent import Runs, Settings, create_durable_agent
from evented_agent.web import create_app
from tests.http.agents import talker
from tests.http.conftest import Served, serving
from tests.support.operators import known_operator
from tests.support.servers import RedisServer

RUNS = 100_000
_AT_ONCE = 2_000


def store_copies(server: RedisServer, runs: Runs, run_id: str) -> None:
    """Write copies of a finished run, as its scripts would have left them: record and indexes."""
    client = server.client()
    keys = runs.keys.of(run_id)
    record: dict[Any, Any] = client.hgetall(keys.run)
    created = int(record[b"created"])
    indexes = [
        key.decode()
        for key in client.scan_iter(match="*:runs:*")
        if client.zscore(key, run_id) is not None
    ]
    for start in range(0, RUNS, _AT_ONCE):
        names = [f"{number:032x}" for number in range(start, start + _AT_ONCE)]
        pipe: redis.client.Pipeline = client.pipeline(transaction=False)
        for name in names:
            pipe.hset(runs.keys.of(name).run, mapping=record)
        for index in indexes:
            pipe.zadd(index, {name: created + at for at, name in enumerate(names, start)})
        pipe.execute()
    client.close()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with RedisServer(tmp_path_factory.mktemp("crowded"), aof=False) as server:
        settings = Settings(prefix="crowded")
        engine = create_durable_agent(talker, redis_url=server.url, settings=settings)
        run = engine.stream("say Hello.", resource_id="ann")
        run.result(timeout=20)
        store_copies(server, engine.client, run.run_id)
        with serving(create_app(engine.client, authorize=known_operator)) as served:
            yield served
        engine.close()


@pytest.mark.timeout(300)
def test_the_list_of_100_000_runs_is_there_at_once(
    crowded: Served, browser: Browser, pictures: Path
) -> None:
    context = browser.new_context(base_url=crowded.url)
    context.add_cookies([{"name": "who", "value": "ann", "url": crowded.url}])
    page = context.new_page()
    told = []
    for path in ("/console/runs", "/console/runs?status=finished&agent=talker", "/console"):
        page.goto(path)
        expect(page.locator("[data-row]").first).to_be_visible()
        paint = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
        )
        answer = page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd")
        told.append(f"{path}: answered after {answer:.0f} ms, painted after {paint:.0f} ms")
    (pictures / "many-runs.txt").write_text("\n".join(told))
    print("\n".join(told))

    page.goto("/console/runs")
    expect(page.locator("[data-row]")).to_have_count(50)
    page.click("text=Older")
    expect(page.locator("text=Newest")).to_be_visible()
    expect(page.locator("[data-row]")).to_have_count(50)
    context.close()
