"""The story of a run, as `runs show` prints it and the console draws it."""

import re
from collections.abc import Iterable
from contextlib import suppress

from evented_agent import Runs
from evented_agent.chunks import AnyChunk
from evented_agent.cli import main
from evented_agent.web.console.clock import clocked
from evented_agent.web.console.timeline import Picture, picture_of
from tests.support.command_line import cli_runner


def shown(runs: Runs, run_id: str) -> str:
    """What `runs show` prints below its facts."""
    place = ("--redis", runs.redis_url, "--prefix", runs.settings.prefix)
    done = cli_runner().invoke(main, [*place, "runs", "show", run_id])
    assert done.exit_code == 0, done.output
    return done.stdout.partition("\n\n")[2]


def assert_told(story: str, lines: Iterable[str]) -> None:
    """Fail unless these patterns are found in that order."""
    at = 0
    for line in lines:
        found = re.compile(line, re.MULTILINE).search(story, at)
        assert found is not None, f"{line!r} is not in what follows of:\n{story}"
        at = found.end()


def drawn(runs: Runs, run_id: str) -> Picture:
    """What the console draws of it."""
    found, info = list[AnyChunk](), runs.get(run_id)
    with suppress(TimeoutError):
        found.extend(runs.observe(run_id, timeout=0.2))
    return clocked(picture_of(found), runs.attempts(run_id), info)


def states_in(picture: Picture) -> dict[str, list[str]]:
    """What was done in each lane but to wait for a worker; of several of a name, the first."""
    return {
        lane.name: [span.state for span in lane.spans if span.state not in ("queued", "waits")]
        for lane in reversed(picture.lanes)
    }
