"""A real workload ends in the right state, whichever worker takes the next call."""

from collections.abc import Iterator

import pytest

from tests.workload.dialogs import dialogs
from tests.workload.run import Fleet, deployment, play_all


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with deployment(tmp_path_factory.mktemp("workload"), workers=2) as started:
        yield started


def test_dialogs_end_in_the_state_of_direct_calls(fleet: Fleet) -> None:
    outcomes = play_all(list(dialogs())[::20], fleet)

    assert [outcome.dialog for outcome in outcomes if not outcome.is_equal] == []


def test_killed_workers_change_no_outcome(fleet: Fleet) -> None:
    outcomes = play_all(list(dialogs())[5::4], fleet, kill_every=1.5)

    assert [outcome.dialog for outcome in outcomes if not outcome.is_equal] == []
    assert fleet.kills
