"""Messages from several processes are answered in order, whatever is done to workers."""

import subprocess
import sys

import pytest

from tests.support.workers import ROOT


@pytest.mark.timeout(300)
def test_chaos_neither_loses_nor_repeats_nor_reorders_a_message() -> None:
    how = ("--messages", "80", "--threads", "8", "--pause", "0.3", "--chaos", "1")
    # It reads once, from its environment, where the runs are.
    played = subprocess.run(
        [sys.executable, "-m", "tests.workload.inbox", *how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert played.returncode == 0, played.stdout + played.stderr
