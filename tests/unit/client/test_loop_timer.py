"""One timer ends the waits of a reader on an event loop, however many of them are short."""

import asyncio
from typing import Any
from unittest.mock import patch

from evented_agent.client.hub.waits import LoopTimer, LoopWait


async def _result_of(timer: LoopTimer, wait: LoopWait, seconds: float) -> Any:
    timer.watch(wait, seconds)
    try:
        return await wait.result()
    finally:
        timer.forget()


def test_a_wait_that_lasts_too_long_is_ended() -> None:
    async def wait_twice() -> list[Any]:
        timer = LoopTimer()
        # The second one is shorter than what the timer was set to.
        given = LoopWait()
        given.give("news")
        first = await _result_of(timer, given, 60)
        return [first, await _result_of(timer, LoopWait(), 0.01)]

    assert asyncio.run(asyncio.wait_for(wait_twice(), 20)) == ["news", None]


def test_waits_that_are_answered_set_no_timer_of_their_own() -> None:
    async def wait_often() -> int:
        loop, timer = asyncio.get_running_loop(), LoopTimer()
        with patch.object(loop, "call_at", wraps=loop.call_at) as call_at:
            for _ in range(50):
                wait = LoopWait()
                loop.call_soon(wait.give, "news")
                assert await _result_of(timer, wait, 60) == "news"
        timer.close()
        return call_at.call_count

    assert asyncio.run(wait_often()) == 1


def test_a_timer_that_rings_early_ends_a_wait_that_began_later_in_its_own_time() -> None:
    async def wait_longer() -> bool:
        timer, late = LoopTimer(), LoopWait()
        timer.watch(LoopWait(), 0.01)
        began = asyncio.get_running_loop().time()
        await _result_of(timer, late, 0.05)
        return asyncio.get_running_loop().time() >= began + 0.05

    assert asyncio.run(asyncio.wait_for(wait_longer(), 20))
