"""Redis says "not now" for 6 s, in each way that it can: nothing is repeated, nobody gives up."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from evented_agent import Agent, AsyncRunStream, RunStream, Settings, create_durable_agent, tool
from evented_agent.testing import ScriptedModel, tool_call
from tests.durability.outcomes import last
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import wait_until

#: Each as the server says it, in or before a script.
REPLIES = (
    "MISCONF Redis is configured to save RDB snapshots, but it is unable to persist to disk.",
    "NOREPLICAS Not enough good replicas to write.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
)


class Scenario:
    """One process of runs behind a proxy that says one reply."""

    def __init__(self, reply: str, server: RedisServer) -> None:
        self.reply = reply
        self.word = reply.split()[0]
        self._server = server
        self._proxy = Proxy(server.port)
        self._began, self._go = threading.Event(), threading.Event()
        self.paid = 0

    def play(self) -> None:
        @tool(on_crash="fail")
        def pay() -> str:
            """Return while Redis says not now."""
            self.paid += 1
            self._began.set()
            self._go.wait(20)
            return "paid"

        speaker = Agent(id="speaker", model=ScriptedModel([TEXT], pause=0.05))
        payer = Agent(id="payer", model=ScriptedModel([[tool_call("pay")], "Done."]), tools=[pay])
        settings = Settings(prefix=f"not-now-{self.word}", retry_for=10)
        with self._proxy, contextlib.ExitStack() as stack, ThreadPoolExecutor(3) as threads:
            url = self._proxy.url
            speaks = create_durable_agent(speaker, redis_url=url, settings=settings)
            pays = create_durable_agent(payer, redis_url=url, settings=settings)
            stack.enter_context(contextlib.closing(speaks))
            stack.enter_context(contextlib.closing(pays))
            talk, payment = speaks.stream("Talk."), pays.stream("Pay.")
            heard = threads.submit(lambda: types_of(speaks.observe(talk.run_id)))
            aheard = threads.submit(lambda: asyncio.run(self._aread(talk.run_id, url, settings)))
            assert self._began.wait(20)
            wait_until(lambda: talk.status == "running", f"{self.word}: it speaks")

            self._proxy.keep_saying(self.reply)
            self._go.set()
            created = threads.submit(speaks.stream, "Talk, too.")
            last(6)
            self._proxy.keep_saying("")

            assert created.result(timeout=30).result(timeout=30).text == TEXT, self.word
            assert payment.result(timeout=30).text == "Done.", self.word
            assert talk.result(timeout=30).text == TEXT, self.word
            for types in (heard.result(timeout=30), aheard.result(timeout=30)):
                assert types[-1] == "finish", self.word
                assert "step-reset" not in types, self.word
            assert self.paid == 1, self.word

    async def _aread(self, run_id: str, url: str, settings: Settings) -> list[str]:
        agent = Agent(id="speaker", model=ScriptedModel([TEXT]))
        reads = create_durable_agent(agent, redis_url=url, settings=settings)
        stream: AsyncRunStream = await reads.client.aobserve(run_id)
        return [chunk.type async for chunk in stream]


def types_of(stream: RunStream) -> list[str]:
    return [chunk.type for chunk in stream]


def test_nothing_is_repeated_or_refused_while_redis_says_not_now(
    redis_server: RedisServer,
) -> None:
    scenarios = [Scenario(reply, redis_server) for reply in REPLIES]
    with ThreadPoolExecutor(len(scenarios)) as threads:
        for each in [threads.submit(scenario.play) for scenario in scenarios]:
            each.result(timeout=120)
