"""A worker that is killed leaves nothing behind in the machine's temporary folder."""

from pathlib import Path

import pytest

from evented_agent import EventedAgent
from tests.conftest import StartWorker


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_killed_worker_leaves_no_folder(
    start_worker: StartWorker, agents: dict[str, EventedAgent], tmp_path: Path, pool: str
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    worker = start_worker(pool=pool, concurrency=2, env={"TMPDIR": str(folder)})
    agents["toolbox"].generate('add {"a": 1, "b": 2}\nwait {"seconds": 0.1}', timeout=30)

    worker.kill()

    assert list(folder.iterdir()) == []
