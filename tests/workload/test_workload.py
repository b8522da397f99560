"""A real workload ends in the right state, whichever worker takes the next call."""

from collections.abc import Iterator

import pytest

from tests.workload.chaos import Chaos
from tests.workload.dialogs import dialogs
from tests.workload.fleet import Fleet
from tests.workload.run import deployment, play_all


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with deployment(tmp_path_factory.mktemp("workload"), workers=2, pause=0.05) as started:
        yield started


def test_dialogs_end_in_the_state_of_direct_calls(fleet: Fleet) -> None:
    report = play_all(list(dialogs())[::20])

    assert report.wrong == []
    assert sum(outcome.withdrawn for outcome in report.outcomes) == 0


@pytest.mark.timeout(300)
def test_chaos_changes_no_outcome(fleet: Fleet) -> None:
    report = play_all(list(dialogs())[1::2], chaos=Chaos(fleet, seed=1))

    assert report.wrong == []
    assert sum(report.done.values()) > 3
