"""The story of a run, as `runs show` and the console's picture tell it: what ran, and when."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Event
from typing import Any

import pytest

from evented_agent import Agent, Background, Runs, Settings, ToolContext, create_durable_agent, tool
from evented_agent.engines.in_process import InProcessAgent
from evented_agent.errors import ModelError, RunFailed
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.driver import Driver
from tests.support.servers import RedisServer
from tests.support.stories import assert_told, drawn, shown, states_in
from tests.support.workers import wait_until

PREFIX = "stories"
#: What `hold` waits for, by run.
GATES: dict[str, Event] = defaultdict(Event)


@tool(retries=1)
def flaky(ctx: ToolContext) -> str:
    """Fail the first time."""
    if ctx.attempt == 1:
        raise OSError("no\nroute")
    return "through"


@tool(requires_approval=True)
def erase() -> str:
    """Erase something."""
    return "erased"


@tool(background=Background())
def report() -> str:
    """Report, in the background."""
    return "reported"


@tool
async def hold(ctx: ToolContext) -> str:
    """Wait until the gate of the run is open."""
    while not GATES[ctx.run_id].is_set():
        # Between two looks; the run is aborted at the latest.
        await asyncio.sleep(0.005)
    return "held"


class Stories:
    """Runs that have a story, each of an agent of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.made: list[InProcessAgent] = []

    def agent(self, id_: str, *answers: Any, tools: Sequence[Any] = ()) -> InProcessAgent:
        agent = Agent(id=id_, model=ScriptedModel(list(answers)), tools=list(tools))
        settings = Settings(prefix=PREFIX)
        made: Any = create_durable_agent(agent, redis_url=self.url, settings=settings)
        self.made.append(made)
        return made  # type: ignore[no-any-return]

    def runs_of(self, id_: str) -> Runs:
        return Runs(self.url, settings=Settings(prefix=f"{PREFIX}.{id_}"))


@pytest.fixture
def stories(redis_server: RedisServer) -> Iterator[Stories]:
    made = Stories(redis_server.url)
    yield made
    for agent in made.made:
        for info in agent.list():
            agent.delete(info.run_id)
        agent.close()


def is_in_tool(agent: InProcessAgent, run_id: str) -> bool:
    attempts = agent.attempts(run_id)
    return any(attempt.tool_name and attempt.started_at for attempt in attempts)


def crashed_twice(stories: Stories) -> str:
    """Its worker was killed twice, each time before the model had said a word."""
    ledger = Ledger(stories.url)
    driver = Driver(ledger, Keys(f"{PREFIX}.crashed_twice"))
    driver.create("story")
    for token in ("one", "two"):
        driver.expire(driver.granted("story", token=token))
        driver.reconcile("story")
    driver.granted("story", token="three")
    ledger.close()
    return "story"


def retried_tool(stories: Stories) -> str:
    agent = stories.agent("retried_tool", [tool_call("flaky")], "Done.", tools=[flaky])
    return agent.generate("Go.", timeout=20).run_id


def declined(stories: Stories) -> str:
    agent = stories.agent("declined", [tool_call("erase")], "Well.", tools=[erase])
    run = agent.stream("Go.")
    run.result(20)
    agent.decline(run.run_id, reason="no", by="Ann").result(20)
    return run.run_id


def aborted(stories: Stories) -> str:
    agent = stories.agent("aborted", [tool_call("hold")], tools=[hold])
    run = agent.stream("Go.")
    wait_until(lambda: is_in_tool(agent, run.run_id), "the call runs")
    run.abort("enough")
    wait_until(lambda: agent.get(run.run_id).is_ended, "it ends")
    return run.run_id


def steered(stories: Stories) -> str:
    agent = stories.agent("steered", [tool_call("hold")], "Both.", tools=[hold])
    run = agent.stream("Go.")
    wait_until(lambda: is_in_tool(agent, run.run_id), "the call runs")
    agent.send(run.run_id, "And this.")
    GATES[run.run_id].set()
    run.result(20)
    return run.run_id


def with_background_calls(stories: Stories) -> str:
    script = [[tool_call("report")], "Later.", "Here."]
    agent = stories.agent("with_background_calls", *script, tools=[report])
    run = agent.stream("Go.", until_idle=20)
    run.result(20)
    return run.run_id


def delegated(stories: Stories) -> str:
    script = ScriptedModel([[tool_call("flaky")], "Found."])
    below = Agent(id="helper", description="Helps.", model=script, tools=[flaky])
    called = below.as_tool()
    agent = stories.agent(
        "delegated", [tool_call("helper", input="Look.")], "Done.", tools=[called]
    )
    return agent.generate("Go.", timeout=20).run_id


def failed_and_retried(stories: Stories) -> str:
    agent = stories.agent("failed_and_retried", ModelError("out of credit"))
    run = agent.stream("Go.")
    with suppress(RunFailed):
        run.result(20)
    with suppress(RunFailed):
        agent.retry(run.run_id).result(20)
    return run.run_id


@pytest.mark.parametrize(
    ("tell", "lines", "rows"),
    [
        (
            crashed_twice,
            [
                "model call of step 1 began on worker w1/1$",
                r"model call of step 1 began on worker w1/1, attempt 2 \(the first crashed: its "
                r"lease ran out after \d+\.\d s\)",
                r"model call of step 1 began on worker w1/1, attempt 3 \(the second crashed: ",
            ],
            {"model": ["withdrawn", "withdrawn", "running"]},
        ),
        (
            retried_tool,
            [
                r"step 1: tool-calls, .*, ended after",
                r"  > flaky\(\)",
                "call of flaky in step 1 began on worker ",
                r"call of flaky in step 1 began on worker .*, attempt 2 \(the first failed after "
                r"0\.\d s: OSError: no\\nroute\), after \d\.\d s in the queue",
                "call of flaky in step 1 ended after",
                "  < flaky: through",
                "model call of step 2 began",
                "  assistant: Done.",
                r"finished \(stop\)",
            ],
            {"flaky": ["withdrawn", "running"]},
        ),
        (
            declined,
            [
                r"  > erase\(\)",
                "call_1_0 was declined by Ann at ",
                "  ! erase: The call was declined by a person: no",
                "model call of step 2 began",
                "  assistant: Well.",
            ],
            {"erase": ["people"]},
        ),
        (
            aborted,
            [
                "call of hold in step 1 began",
                "call of hold in step 1 was aborted after .* s: enough",
                r"aborted \(abort\)",
            ],
            {"hold": ["running"]},
        ),
        (
            steered,
            [
                "  user: Go.",
                "call of hold in step 1 began",
                "  < hold: held",
                "step 2: ",
                "  user: And this.",
                "  assistant: Both.",
            ],
            {"hold": ["running"]},
        ),
        (
            with_background_calls,
            [
                r"  > report\(\)",
                "call of report in step 1 began",
                "call of report in step 1 ended",
                "  < report: reported",
                "  assistant: Here.",
            ],
            {"report": ["running"]},
        ),
        (
            delegated,
            [
                r"  > helper\(",
                "call of helper in step 1 began child ~1, which answers it",
                "model call of step 1 of child ~1 began",
                r"call of flaky in step 1 of child ~1 began .*, attempt 2 \(the first failed after",
                "call of helper in step 1 has its answer",
                "  < helper: Found.",
                "model call of step 2 began",
            ],
            {"helper": ["running", "running"]},
        ),
        (
            failed_and_retried,
            [
                "model call of step 1 failed its run after .* s: ModelError: out of credit",
                r"model call of step 1 began on worker .*, attempt 2 \(the first failed its run",
                "model call of step 1 failed its run after",
                r"failed \(error\)",
                "  ! ModelError: out of credit",
            ],
            {"model": ["withdrawn", "withdrawn"]},
        ),
    ],
)
def test_the_story_of_a_run_is_told_in_order(
    stories: Stories,
    tell: Callable[[Stories], str],
    lines: Sequence[str],
    rows: dict[str, Sequence[str]],
) -> None:
    run_id, runs = tell(stories), stories.runs_of(tell.__name__)

    story = shown(runs, run_id)
    assert story.splitlines()[0].endswith("  created")
    assert_told(story, lines)
    picture = drawn(runs, run_id)
    runs.close()
    assert picture.has_clock
    told = states_in(picture)
    assert {name: told[name] for name in rows} == rows, told
    for lane in picture.lanes:
        starts = [span.start for span in lane.spans]
        assert starts == sorted(starts)
        assert all(span.end is None or span.end <= picture.width for span in lane.spans)
