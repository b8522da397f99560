"""A task that is cancelled while it talks to Redis ends, wherever the cancellation finds it."""

import asyncio
from collections.abc import Sequence

from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.limits import count_slots, take_slot
from tests.support.servers import RedisServer

KEYS = Keys("cancelled")


def test_a_command_is_cancelled_at_whichever_turn_of_the_loop(redis_server: RedisServer) -> None:
    async def main() -> None:
        ledger = Ledger(redis_server.url)
        command = count_slots(KEYS, ["all"])
        await ledger.asend(command)
        turns = 0
        while True:
            asking = asyncio.create_task(ledger.asend(command))
            for _ in range(turns):
                await asyncio.sleep(0)
            if not asking.cancel():
                break
            await asyncio.wait([asking])
            assert asking.cancelled(), f"after {turns} turns"
            turns += 1
        # Sent, and waited for.
        assert turns > 2
        await ledger.aclose()

    asyncio.run(main())


def test_a_loop_that_renews_ends_when_it_is_cancelled(redis_server: RedisServer) -> None:
    async def main() -> None:
        ledger = Ledger(redis_server.url)
        renewal = take_slot(KEYS, "holder", {"all": 1}, ttl_ms=1_000)

        async def renew() -> None:
            for _ in range(5_000):
                await ledger.asend(renewal)

        for turns in range(12):
            renewing = asyncio.create_task(renew())
            for _ in range(turns):
                await asyncio.sleep(0)
            renewing.cancel()
            done, _ = await asyncio.wait([renewing], timeout=20)
            assert done, f"after {turns} turns"
            assert renewing.cancelled(), f"after {turns} turns"
        await ledger.aclose()

    asyncio.run(main())


def test_an_older_cancellation_stops_no_command_of_the_clean_up(redis_server: RedisServer) -> None:
    async def main() -> None:
        ledger = Ledger(redis_server.url)
        found = list[Sequence[int]]()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                found.append(await ledger.asend(count_slots(KEYS, ["all"])))

        working = asyncio.create_task(work())
        await asyncio.sleep(0)
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled()
        assert len(found) == 1
        await ledger.aclose()

    asyncio.run(main())
