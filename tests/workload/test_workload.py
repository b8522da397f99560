"""A real workload ends in the right state, whichever worker takes the next call."""

from pathlib import Path

from tests.workload.dialogs import dialogs
from tests.workload.run import deployment, play_all


def test_dialogs_end_in_the_state_of_direct_calls(tmp_path: Path) -> None:
    ids = list(dialogs())[::20]
    with deployment(tmp_path, workers=2) as fleet:
        outcomes = play_all(ids, fleet)

    assert [outcome.dialog for outcome in outcomes if not outcome.is_equal] == []


def test_killed_workers_change_no_outcome(tmp_path: Path) -> None:
    ids = list(dialogs())[5::20]
    with deployment(tmp_path, workers=2) as fleet:
        outcomes = play_all(ids, fleet, kill_every=2)

    assert [outcome.dialog for outcome in outcomes if not outcome.is_equal] == []
    assert fleet.kills
