"""The benchmarks run; what they measure is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

from tests.workers import ROOT


def test_a_benchmark_prints_its_figures(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "cost", "--quick", "--json", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    names = [row["name"] for row in json.loads(figures.read_text())]
    assert "Redis bytes per token" in names
