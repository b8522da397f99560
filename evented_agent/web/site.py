"""What a handler has to do with: the runs, who may do what, and how both are asked.

A handler is a generator that yields steps; `drive` answers them from a thread, `adrive` from an
event loop, so that each route is written once.
"""

import asyncio
import inspect
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from evented_agent.client.runs import Runs
from evented_agent.state.run_info import RunInfo
from evented_agent.web.exchange import Exchange
from evented_agent.web.limits import Limits, OpenStreams
from evented_agent.web.origins import Origins
from evented_agent.web.principal import Action, Authorize, Principal
from evented_agent.web.tokens import StreamTokens

_T = TypeVar("_T")

#: Seconds of silence after which a stream shows that it is alive.
HEARTBEAT_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Site:
    """What an application was made with.

    Attributes:
        runs: Where the runs are.
        agent: The one agent that is served; None for all of *runs*.
        authorize: Says who asks.
        origins: Which hosts and pages are served.
        tokens: Makes and reads stream tokens.
        limits: What a request and a principal may take.
        streams: The open streams of this process.
        options: What a client may choose when it starts a run, beside input, agent and ids.
        heartbeat: Seconds of silence between two comments of a stream.
        flower_url: Where Flower shows the tasks; the console has links to them.
    """

    runs: Runs
    agent: str | None
    authorize: Authorize
    origins: Origins
    tokens: StreamTokens
    limits: Limits
    streams: OpenStreams
    options: Sequence[str]
    heartbeat: float = HEARTBEAT_SECONDS
    flower_url: str | None = None

    @property
    def scope(self) -> Mapping[str, Any]:
        """What narrows lists to the agent that is served."""
        return {} if self.agent is None else {"agent": self.agent}


class WebStep(Protocol):
    """Something that a handler waits for."""

    def run(self, site: Site) -> Any: ...

    async def arun(self, site: Site) -> Any: ...


WebSteps = Generator[WebStep, Any, _T]


@dataclass(frozen=True, slots=True)
class Verb:
    """A method of `Runs`, or its twin."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, site: Site) -> Any:
        return getattr(site.runs, self.name)(*self.arguments, **self.options)

    async def arun(self, site: Site) -> Any:
        return await getattr(site.runs, f"a{self.name}")(*self.arguments, **self.options)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A plan that is no method of `Runs`.

    Attributes:
        plan: The plan.
        queues: Whether a run may go on by it, which may execute in this process.
    """

    plan: Generator[Any, Any, Any]
    queues: bool = False

    def run(self, site: Site) -> Any:
        self._start(site)
        return site.runs.drive("plan", self.plan)

    async def arun(self, site: Site) -> Any:
        self._start(site)
        return await site.runs.adrive(self.plan)

    def _start(self, site: Site) -> None:
        if self.queues and site.runs.start_engine is not None:
            site.runs.start_engine()


@dataclass(frozen=True, slots=True)
class Consult:
    """Ask who it is, and whether they may: a `Principal`, or None.

    Attributes:
        exchange: The request.
        action: What it is for.
        run_info: The run that is meant.
        thread: The conversation that is meant.
    """

    exchange: Exchange
    action: Action
    run_info: RunInfo | None = None
    thread: str | None = None

    def run(self, site: Site) -> Principal | None:
        if self.exchange.token is not None:
            return self._by_token(site, self.exchange.token)
        found = site.authorize(self.exchange.request, self.action, self.run_info)
        if inspect.isawaitable(found):
            found = asyncio.run(_awaited(found))
        return self._checked(found)

    async def arun(self, site: Site) -> Principal | None:
        if self.exchange.token is not None:
            return self._by_token(site, self.exchange.token)
        given = (self.exchange.request, self.action, self.run_info)
        found: Any
        if _is_async(site.authorize):
            found = site.authorize(*given)
        else:
            found = await asyncio.to_thread(lambda: site.authorize(*given))
        return self._checked(await found if inspect.isawaitable(found) else found)

    def _by_token(self, site: Site, token: str) -> Principal | None:
        grant = site.tokens.read(token)
        if grant is None:
            return None
        found = grant.principal_for(self.action, self.run_info, self.thread)
        return cast(Principal | None, found)

    def _checked(self, found: object) -> Principal | None:
        if found is None or isinstance(found, Principal):
            return found
        raise TypeError(f"authorize returned {found!r}: return a Principal, or None.")


def _is_async(function: Any) -> bool:
    """Whether a function, or an object that is called like one, only makes a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def drive(site: Site, steps: WebSteps[_T]) -> _T:
    """Answer the steps of a handler from this thread; its result."""
    answer: Any = None
    error: Exception | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return cast(_T, end.value)
        answer, error = None, None
        try:
            answer = step.run(site)
        except Exception as raised:  # noqa: BLE001 - the handler's to know
            error = raised


async def adrive(site: Site, steps: WebSteps[_T]) -> _T:
    """`drive` for the running event loop."""
    answer: Any = None
    error: Exception | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return cast(_T, end.value)
        answer, error = None, None
        try:
            answer = await step.arun(site)
        except Exception as raised:  # noqa: BLE001 - the handler's to know
            error = raised
