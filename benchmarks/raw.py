"""The baseline: the openai client used plainly, with the same model server and tools."""

import asyncio
import json
import time
from typing import Any, NamedTuple, Self

from openai import AsyncOpenAI

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "work", "parameters": {"type": "object"}}}
]


class Answer(NamedTuple):
    """One streamed answer: a tool call or words, and the seconds to its first and last delta."""

    call: Any
    words: int
    first: float
    last: float


def work(n: int) -> int:
    return n + 1


class RawClient:
    """The client on an event loop of its own, for a caller that measures it in turns with ours."""

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._client = AsyncOpenAI(max_retries=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def ask(self, model: str) -> Answer:
        """One call."""
        return self._runner.run(self._ask(model, [{"role": "user", "content": "Go."}]))

    def loop(self, model: str) -> float:
        """A whole agent loop: calls with their tools, then the answer; the seconds it took."""
        started = time.perf_counter()
        self._runner.run(self._loop(model))
        return time.perf_counter() - started

    def loops(self, model: str, count: int) -> float:
        """As many agent loops at the same time; the seconds they took together."""

        async def all_of_them() -> None:
            await asyncio.gather(*(self._loop(model) for _ in range(count)))

        started = time.perf_counter()
        self._runner.run(all_of_them())
        return time.perf_counter() - started

    async def _ask(self, model: str, messages: list[Any]) -> Answer:
        started = time.perf_counter()
        first, last, words, call = 0.0, 0.0, 0, None
        stream = await self._client.chat.completions.create(
            model=model,
            messages=messages,
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            if not chunk.choices:
                continue
            delta = chunk.choices[0].delta
            if delta.tool_calls:
                call = delta.tool_calls[0]
            elif delta.content:
                words += 1
                last = time.perf_counter() - started
                first = first or last
        return Answer(call, words, first, last)

    async def _loop(self, model: str) -> None:
        messages: list[Any] = [{"role": "user", "content": "Go."}]
        while (call := (await self._ask(model, messages)).call) is not None:
            result = work(**json.loads(call.function.arguments))
            function = {"name": call.function.name, "arguments": call.function.arguments}
            calls = [{"id": call.id, "type": "function", "function": function}]
            messages += [
                {"role": "assistant", "tool_calls": calls},
                {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)},
            ]
