"""The README's programs, as somebody pastes them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent.ledger.embedded_server import stop_server
from tests.examples.model_server import ModelServer
from tests.support.workers import ROOT

BLOCKS = [
    block.partition("```")[0] for block in (ROOT / "README.md").read_text().split("```python\n")[1:]
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the embedded server is, which nothing but the program starts."""
    monkeypatch.setenv("EVENTED_AGENT_HOME", str(tmp_path / "home"))
    yield tmp_path
    stop_server()


def test_the_shortest_program_runs_without_a_redis(home: Path, model: ModelServer) -> None:
    model.answers("Where is order 7?", ["Order 7 was shipped this morning."])
    program = home / "clerk.py"
    program.write_text(BLOCKS[0])
    env = {name: value for name, value in os.environ.items() if name[:13] != "EVENTED_AGENT"}
    env |= {"EVENTED_AGENT_HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}
    env |= {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": model.url}

    done = subprocess.run(
        [sys.executable, program], cwd=home, env=env, capture_output=True, text=True, timeout=60
    )

    assert (done.stdout, done.returncode) == ("Order 7 was shipped this morning.\n", 0), done.stderr
