"""Calls wait for a free connection; that there was none is said as such."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger import connection_limit, runs
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.connection_limit import MOST_CONNECTIONS
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Record
from evented_agent.ledger.script import Command
from tests.support.driver import Driver
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer

KEYS = Keys("limit", 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("ledger")) as own:
        Driver(Ledger(own.url), KEYS).create("r")
        yield own


def connections(server: RedisServer) -> int:
    with server.client() as client:
        return len(client.client_list())


@pytest.mark.parametrize("calls", ["from an event loop", "from threads", "in pipelines"])
def test_400_calls_at_once_share_few_connections(
    server: RedisServer, calls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long the last of them waits is a matter of the machine.
    monkeypatch.setattr(connection_limit, "WAIT_FOR_FREE", 60.0)
    ledger = Ledger(server.url)
    read = runs.read(KEYS, "r")

    async def all_of() -> list[Any]:
        ask: Any = ledger.asend_all([read] * 2) if calls == "in pipelines" else ledger.asend(read)
        asked = [ask, *(ledger.asend(read) for _ in range(399))]
        found = await asyncio.gather(*asked)
        assert connections(server) <= MOST_CONNECTIONS + 2
        return list(found)

    if calls == "from threads":
        with ThreadPoolExecutor(400) as threads:
            found: list[Any] = list(threads.map(lambda _: ledger.send(read), range(400)))
        assert connections(server) <= MOST_CONNECTIONS + 2
        ledger.close()
    else:
        found = asyncio.run(all_of())
    assert len(found) == 400


async def three(ledger: Ledger, read: Command[Record]) -> list[object]:
    calls = (ledger.asend(read, retry_for=0) for _ in range(3))
    return list(await asyncio.gather(*calls, return_exceptions=True))


@pytest.mark.parametrize("calls", ["from an event loop", "from threads"])
def test_that_no_connection_was_free_is_said(
    server: RedisServer, calls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limit, "WAIT_FOR_FREE", 0.2)
    read = runs.read(KEYS, "r")
    told = r"was not asked: none of this process's 2 connections was free within 0.2 s"
    with Proxy(server.port) as proxy, ThreadPoolExecutor(3) as threads:
        ledger = Ledger(f"{proxy.url}?max_connections=2")

        proxy.freeze()
        errors: list[object]
        if calls == "from threads":
            asked = [threads.submit(ledger.send, read, retry_for=0) for _ in range(3)]
            errors = [each.exception(timeout=20) for each in asked]
        else:
            errors = asyncio.run(three(ledger, read))
        proxy.thaw()
    assert all(isinstance(error, LedgerUnavailable) for error in errors)
    said = [error for error in errors if "could not be reached" not in str(error)]
    assert len(said) == 1
    with pytest.raises(LedgerUnavailable, match=told):
        raise said[0]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("query", "most"), [("", 32), ("?max_connections=7", 7), ("?max_connections=900", 32)]
)
def test_the_url_may_ask_for_fewer(query: str, most: int) -> None:
    limit = connection_limit.ConnectionLimit(f"redis://localhost:1/0{query}")
    for _ in range(most):
        limit.__enter__()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_limit, "WAIT_FOR_FREE", 0.01)
        with pytest.raises(connection_limit.NoFreeConnection, match=f"{most} connections"):
            limit.__enter__()


async def cancelled(limit: connection_limit.ConnectionLimit) -> None:
    """Somebody who waits for a place is cancelled, and takes none."""
    async with limit:

        async def wait() -> None:
            async with limit:
                raise AssertionError

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(5), limit:
        pass


def test_who_is_cancelled_while_it_waits_takes_no_place() -> None:
    asyncio.run(cancelled(connection_limit.ConnectionLimit("redis://localhost?max_connections=1")))
