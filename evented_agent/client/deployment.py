"""One deployment as a process sees it: its Redis, its settings, the agents served here."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from evented_agent.agents.agent import Agent
from evented_agent.agents.tools.agent_tool import AgentTool
from evented_agent.client.diversion import current_diversion
from evented_agent.durations import in_seconds
from evented_agent.errors import (
    BlockingCall,
    ConfigurationError,
    DeclarationError,
    UnknownAgent,
)
from evented_agent.ledger import workers
from evented_agent.ledger.address import safe_url
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.embedded_server import ensure_server, find_server, no_server
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.plan import Notifier, Plan, send
from evented_agent.ledger.records import Due
from evented_agent.ledger.settings import Settings
from evented_agent.logs import logger_of

logger = logger_of(__name__)

_T = TypeVar("_T")

#: Where the runs are, unless the code says so.
REDIS_URL_VARIABLE = "EVENTED_AGENT_REDIS_URL"


class NullNotifier:
    """For processes without a broker: a watchdog sends the messages, within a second."""

    def notify(self, _dues: Sequence[Due], /) -> bool:
        return False


class Deployment:
    """One deployment's Redis, settings and agents.  Connects at first use."""

    def __init__(
        self,
        redis_url: str | Callable[[], str | None] | None = None,
        *,
        settings: Settings | None = None,
        allow_blocking: bool = False,
    ) -> None:
        if not isinstance(settings, Settings | None):
            raise DeclarationError(f"settings={settings!r}: pass Settings(…).")
        self.settings: Settings = settings or Settings()
        self.keys: Keys = Keys(self.settings.prefix, self.settings.shards)
        self.agents: dict[str, Agent] = {}
        self.notifier: Notifier = NullNotifier()
        #: Starts what executes runs in this process, where that is the case; again changes nothing.
        self.start_engine: Callable[[], object] | None = None
        #: Removes the copy of a run's result that the engine keeps elsewhere.
        self.forget_copy: Callable[[str], None] | None = None
        #: Refuses to wait for a run where that could keep it from going on.
        self.check_wait: Callable[[str], None] = lambda _verb: None
        self.allow_blocking = allow_blocking
        self._given_url = redis_url
        self._ledger: Ledger | None = None
        self._is_agreed = False

    @property
    def notifies(self) -> bool:
        """Whether what is due is sent by this process, rather than by the next watchdog."""
        return not isinstance(self.notifier, NullNotifier)

    @property
    def ledger(self) -> Ledger:
        if (diversion := current_diversion()) is not None:
            return diversion.ledger_of(self)
        if self._ledger is None:
            retry_for = in_seconds(self.settings.retry_for)
            self._ledger = Ledger(self.redis_url, retry_for=retry_for)
        return self._ledger

    @property
    def redis_url(self) -> str:
        """Where the runs are; raises `ConfigurationError` where that is nowhere: nothing starts."""
        url = self.named_url
        if url is not None:
            return url
        if (server := find_server()) is not None:
            return server.url
        raise ConfigurationError(
            f"{no_server()} Pass redis_url, set {REDIS_URL_VARIABLE}, or start it: evented-agent "
            "server start."
        )

    def provide(self) -> None:
        """Start the embedded server where no other is named; for whoever writes."""
        if self._ledger is None and self.named_url is None:
            ensure_server()

    @property
    def named_url(self) -> str | None:
        """The Redis that code or environment name; None for the embedded server."""
        if (diversion := current_diversion()) is not None:
            return diversion.url
        given = self._given_url
        url = given() if callable(given) else given
        return url or os.environ.get(REDIS_URL_VARIABLE)

    def add(self, agent: Agent) -> None:
        """Serve *agent* here, and those that it may hand runs over to, or call.

        Raises `ConfigurationError` where its id is another agent's.
        """
        check_agent(agent)
        known = self.agents.setdefault(agent.id, agent)
        if known is not agent:
            raise ConfigurationError(
                f"Two agents have the id {agent.id!r}. Ids are stored with runs: give one of them "
                "another."
            )
        for made in agent.handoffs.values():
            if made.agent is not None:
                self.add(made.agent)
        for tool in agent.tools:
            if isinstance(tool, AgentTool):
                self.add(tool.agent)

    def agent_named(self, agent_id: str) -> Agent:
        """The agent that is served here under that id; raises `UnknownAgent`."""
        agent = self.agents.get(agent_id)
        if agent is None:
            raise UnknownAgent(agent_id, self.agents)
        return agent

    def check(self) -> workers.DeploymentInfo:
        """Compare with what other processes of this deployment stored; refuse what loses runs.

        Raises `ConfigurationError` with the line to change.
        """
        found = self.ledger.send(workers.deployment(self.keys))
        self._compare(found)
        policies, with_aof = {safe_url(self.redis_url): found.eviction}, [found.has_aof]
        if self.ledger.kind == "cluster":
            masters = [(where, info) for where, info in self.ledger.masters() if info is not None]
            policies = {where: str(info.get("maxmemory_policy", "")) for where, info in masters}
            with_aof = [bool(info.get("aof_enabled")) for _, info in masters]
        for where, policy in policies.items():
            if policy not in ("", "noeviction") and not self.settings.allow_eviction:
                raise ConfigurationError(
                    f"Redis at {where} has maxmemory-policy {policy!r} and may drop runs. Set "
                    "'maxmemory-policy noeviction' there, or insist with "
                    "Settings(allow_eviction=True)."
                )
        if False in with_aof:
            logger.warning(
                "Redis at %s has no append-only file: a restart loses all runs. Set "
                "'appendonly yes' there.",
                safe_url(self.redis_url),
            )
        return found

    def agree(self) -> Plan[None]:
        """Refuse, once per process, to create runs where other processes would not find them.

        Raises `ConfigurationError`.
        """
        if not self._is_agreed and current_diversion() is None:
            self._compare((yield from send(workers.deployment(self.keys))))

    def drive(self, verb: str, plan: Plan[_T]) -> _T:
        """Drive *plan* from this thread; raises `BlockingCall` where an event loop runs on it."""
        refuse_on_loop(verb, f"a{verb}", allowed=self.allow_blocking)
        return self.ledger.run(plan)

    async def adrive(self, plan: Plan[_T]) -> _T:
        """Drive *plan* from the running event loop."""
        return await self.ledger.arun(plan)

    def _compare(self, found: workers.DeploymentInfo) -> None:
        if found.shards != self.settings.shards:
            raise ConfigurationError(
                f"Settings(shards={self.settings.shards}) does not match "
                f"{safe_url(self.redis_url)}, where runs are spread over {found.shards}. Set "
                f"shards={found.shards} in every process."
            )
        self._is_agreed = True


def check_agent(agent: object) -> None:
    """Refuse what is no agent before its id is asked for."""
    if not isinstance(agent, Agent):
        raise DeclarationError(f"{agent!r} is no agent. Pass an Agent(id=…, model=…).")


def refuse_on_loop(method: str, twin: str, *, allowed: bool) -> None:
    """Raise `BlockingCall` on the thread of a running event loop, unless *allowed*."""
    if allowed:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BlockingCall(method, twin)
