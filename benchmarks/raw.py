"""The baseline: the openai client used plainly, with the same model server and tools."""

import asyncio
import time
from typing import Any

from openai import AsyncOpenAI


async def ask(client: AsyncOpenAI, model: str, messages: list[Any]) -> tuple[Any, float, int]:
    """One streamed call: the message, seconds to the first delta, and the number of words."""
    started = time.perf_counter()
    first, words, call = 0.0, 0, None
    stream = await client.chat.completions.create(
        model=model,
        messages=messages,
        tools=[
            {"type": "function", "function": {"name": "work", "parameters": {"type": "object"}}}
        ],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        if not chunk.choices:
            continue
        delta = chunk.choices[0].delta
        if delta.content or delta.tool_calls:
            first = first or time.perf_counter() - started
        if delta.tool_calls:
            call = delta.tool_calls[0]
        words += bool(delta.content)
    return call, first, words


async def run(client: AsyncOpenAI, model: str) -> None:
    """A whole agent loop: calls with their tools, then the answer."""
    messages: list[Any] = [{"role": "user", "content": "Go."}]
    while True:
        call, _, _ = await ask(client, model, messages)
        if call is None:
            return
        function = {"name": call.function.name, "arguments": call.function.arguments}
        calls = [{"id": call.id, "type": "function", "function": function}]
        messages += [
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": call.id, "content": "1"},
        ]


def times(model: str, count: int, *, first_only: bool = False) -> list[float]:
    """Seconds of *count* loops, or to the first delta of as many calls."""

    async def measure() -> list[float]:
        async with AsyncOpenAI(max_retries=0) as client:
            await run(client, model)
            found = []
            for _ in range(count):
                started = time.perf_counter()
                if first_only:
                    _, first, _ = await ask(client, model, [{"role": "user", "content": "Go."}])
                    found.append(first)
                else:
                    await run(client, model)
                    found.append(time.perf_counter() - started)
            return found

    return asyncio.run(measure())


def words_per_second(model: str) -> float:
    async def measure() -> float:
        async with AsyncOpenAI(max_retries=0) as client:
            started = time.perf_counter()
            _, first, words = await ask(client, model, [{"role": "user", "content": "Go."}])
            return float(words / (time.perf_counter() - started - first))

    return asyncio.run(measure())
