"""The benchmarks run; what they measure is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.workers import ROOT


def test_a_benchmark_prints_and_writes_its_figures(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "stream", "--quick", "--json", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())["figures"]
    assert {"stream()", "stream(), broker frozen"} <= {figure["name"] for figure in found}
    assert all(figure["name"] in done.stdout for figure in found)
