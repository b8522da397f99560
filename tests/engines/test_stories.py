"""The story of a run, as `runs show` and the console's picture tell it: what ran, and when."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs, Settings
from evented_agent.errors import RunFailed
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from tests.support.driver import Driver
from tests.support.servers import RedisServer
from tests.support.stories import assert_told, drawn, shown, states_in
from tests.support.workers import WorkerProcess, wait_until

#: Plays a story with its agent; gives its run.
Play = Callable[[EventedAgent, Path], str]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.engines.stories_app"


@pytest.fixture(scope="module")
def agents_at_work(
    module_worker: WorkerProcess,
    agents: dict[str, EventedAgent],
) -> dict[str, EventedAgent]:
    """The agents, with a worker that runs what they are asked for."""
    return agents


def wait_for_call(agent: EventedAgent, run_id: str) -> None:
    """Wait until the run's tool is at work."""
    wait_until(
        lambda: any(each.tool_name and each.started_at for each in agent.attempts(run_id)),
        "the call runs",
    )


def retried_tool(agent: EventedAgent, _: Path) -> str:
    return agent.generate("Go.", timeout=20).run_id


def declined(agent: EventedAgent, _: Path) -> str:
    run = agent.stream("Go.")
    run.result(20)
    agent.decline(run.run_id, reason="no", by="Ann").result(20)
    return run.run_id


def aborted(agent: EventedAgent, _: Path) -> str:
    run = agent.stream("Go.")
    wait_for_call(agent, run.run_id)
    run.abort("enough")
    wait_until(lambda: agent.get(run.run_id).is_ended, "it ends")
    return run.run_id


def steered(agent: EventedAgent, marks: Path) -> str:
    run = agent.stream("Go.")
    wait_for_call(agent, run.run_id)
    agent.send(run.run_id, "And this.")
    (marks / run.run_id).touch()
    run.result(20)
    return run.run_id


def with_background_calls(agent: EventedAgent, marks: Path) -> str:
    run = agent.stream("Go.", until_idle=20)
    wait_until(
        lambda: any(each.step == 2 and each.ended_at for each in agent.attempts(run.run_id)),
        "the model has answered without the report",
    )
    (marks / run.run_id).touch()
    run.result(20)
    return run.run_id


def delegated(agent: EventedAgent, _: Path) -> str:
    return agent.generate("Go.", timeout=20).run_id


def failed_and_retried(agent: EventedAgent, _: Path) -> str:
    run = agent.stream("Go.")
    with suppress(RunFailed):
        run.result(20)
    with suppress(RunFailed):
        agent.retry(run.run_id).result(20)
    return run.run_id


def check_story(
    runs: Runs, run_id: str, lines: Sequence[str], rows: dict[str, Sequence[str]]
) -> str:
    """Fail unless the command and the picture tell of the run so; what the command tells."""
    story = shown(runs, run_id)
    assert story.splitlines()[0].endswith("  created")
    assert_told(story, lines)
    picture = drawn(runs, run_id)
    assert picture.has_clock
    told = states_in(picture)
    assert {name: told[name] for name in rows} == rows, told
    for lane in picture.lanes:
        starts = [span.start for span in lane.spans]
        assert starts == sorted(starts)
        assert all(span.end is None or span.end <= picture.width for span in lane.spans)
    return story


def test_the_story_of_two_crashes_is_told_before_a_third_attempt_ends(
    redis_server: RedisServer,
) -> None:
    ledger, prefix = Ledger(redis_server.url), "stories"
    driver = Driver(ledger, Keys(prefix))
    driver.create("story")
    for token in ("one", "two"):
        driver.expire(driver.granted("story", token=token))
        driver.reconcile("story")
    driver.granted("story", token="three")
    runs = Runs(redis_server.url, settings=Settings(prefix=prefix))
    lines = [
        "model call of step 1 began on worker w1/1$",
        r"model call of step 1 began on worker w1/1, attempt 2 \(the first crashed: its "
        r"lease ran out after \d+\.\d s\)",
        r"model call of step 1 began on worker w1/1, attempt 3 \(the second crashed: ",
    ]
    check_story(runs, "story", lines, {"model": ["withdrawn", "withdrawn", "running"]})
    runs.close()
    ledger.close()


@pytest.mark.parametrize(
    ("play", "lines", "rows"),
    [
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
    agents_at_work: dict[str, EventedAgent],
    runs: Runs,
    marks: Path,
    play: Play,
    lines: Sequence[str],
    rows: dict[str, Sequence[str]],
) -> None:
    run_id = play(agents_at_work[play.__name__], marks)

    story = check_story(runs, run_id, lines, rows)
    began = re.findall(r"call of .* began on worker (.*?)(?:,|$)", story, re.MULTILINE)
    assert began
    assert all(re.fullmatch(r"module@test/\d+", worker) for worker in began)
