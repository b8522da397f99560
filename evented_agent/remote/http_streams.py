"""`RunStream` and `AsyncRunStream` of a run that is followed over HTTP."""

from collections.abc import AsyncGenerator, Generator
from typing import Any

from evented_agent.chunks import AnyChunk
from evented_agent.client.commands import DecisionOptions
from evented_agent.client.reader import ChunkReader
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.sending import SendOptions
from evented_agent.client.thread_course import Position, RunsOfThread
from evented_agent.client.thread_stream import AsyncThreadStream, ThreadStream
from evented_agent.models.messages import Input
from evented_agent.remote.http_calls import (
    abort_request,
    decision_request,
    info_request,
    result_request,
    send_request,
)
from evented_agent.remote.http_reader import HttpReader, HttpThreadReader
from evented_agent.remote.http_requests import HttpSender
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import RunResult


class HttpRunStream(RunStream):
    """A `RunStream` over HTTP."""

    def __init__(self, sender: HttpSender, run_id: str, **options: Any) -> None:
        super().__init__(None, run_id, **options)
        self._sender = sender

    def _reader(self) -> ChunkReader:
        return HttpReader(self._sender, self.run_id)

    def _check_wait(self, verb: str) -> None:
        """No run executes in this process."""

    def _info(self) -> RunInfo:
        return self._sender.send("get", info_request(self.run_id))

    def _outcome(self) -> RunResult[Any]:
        return self._sender.send("result", result_request(self.run_id))

    def _decide(self, data: Any, which: DecisionOptions) -> None:
        self._sender.send("resume", decision_request(self.run_id, data, **which))

    def _send(self, given: Input, options: SendOptions) -> Receipt:
        return self._sender.send("send", send_request(self.run_id, None, given, options))

    def _request_abort(self, reason: str | None) -> bool:
        return self._sender.send("abort", abort_request(self.run_id, reason))


class HttpAsyncRunStream(AsyncRunStream):
    """An `AsyncRunStream` over HTTP."""

    def __init__(self, sender: HttpSender, run_id: str, **options: Any) -> None:
        super().__init__(None, run_id, **options)
        self._sender = sender

    def _reader(self) -> ChunkReader:
        return HttpReader(self._sender, self.run_id)

    def _check_wait(self, verb: str) -> None:
        """No run executes in this process."""

    async def _info(self) -> RunInfo:
        return await self._sender.asend(info_request(self.run_id))

    async def _outcome(self) -> RunResult[Any]:
        return await self._sender.asend(result_request(self.run_id))

    async def _decide(self, data: Any, which: DecisionOptions) -> None:
        await self._sender.asend(decision_request(self.run_id, data, **which))

    async def _send(self, given: Input, options: SendOptions) -> Receipt:
        return await self._sender.asend(send_request(self.run_id, None, given, options))

    async def _request_abort(self, reason: str | None) -> bool:
        return await self._sender.asend(abort_request(self.run_id, reason))


class HttpThreadStream(ThreadStream):
    """A `ThreadStream` over HTTP."""

    def __init__(self, sender: HttpSender, which: RunsOfThread, **options: Any) -> None:
        super().__init__(None, which, **options)
        self._sender = sender

    def _check_wait(self) -> None:
        """No run executes in this process."""

    def _chunks(self, heartbeat: float | None) -> Generator[AnyChunk | None, None, None]:
        reader = HttpThreadReader(self._sender, self._which)
        yield from reader.chunks(_place(self.position), timeout=self._timeout, heartbeat=heartbeat)


class HttpAsyncThreadStream(AsyncThreadStream):
    """An `AsyncThreadStream` over HTTP."""

    def __init__(self, sender: HttpSender, which: RunsOfThread, **options: Any) -> None:
        super().__init__(None, which, **options)
        self._sender = sender

    def _chunks(self, heartbeat: float | None) -> AsyncGenerator[AnyChunk | None, None]:
        reader = HttpThreadReader(self._sender, self._which)
        return reader.achunks(_place(self.position), timeout=self._timeout, heartbeat=heartbeat)


def _place(position: Position | None) -> str:
    return "" if position is None else f"{position[0]}:{position[1]}"
