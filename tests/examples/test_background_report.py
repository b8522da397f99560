"""The example of a report that is built in the background, as its first lines start it."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

from tests.examples.model_server import Call, ModelServer
from tests.support.servers import RedisServer
from tests.support.workers import ROOT


def test_a_model_that_asks_for_no_report_is_no_error(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    topic = f"coffee {uuid.uuid4().hex[:8]}"
    model = ModelServer()
    model.answers(topic, ["Coffee is a bean."])
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples/background_report.py"), topic],
            env=environment(redis_server, model, tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        model.close()

    assert (done.stdout, done.returncode) == ("Coffee is a bean.\n", 0), done.stderr


def environment(redis_server: RedisServer, model: ModelServer, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": model.url,
        "EVENTED_AGENT_REDIS_URL": redis_server.url,
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
    }


def test_the_chat_goes_on_while_the_report_is_built(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    topic = f"tea {uuid.uuid4().hex[:8]}"
    model = ModelServer()
    model.answers(topic, [Call("compile_report")], ["Tea is a leaf."])
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples/background_report.py"), topic],
            env=environment(redis_server, model, tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        model.close()

    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert said.index("Tea is a leaf.") < said.index("[written: Today]")
    assert said.count("Tea is a leaf.") == 2
    [report] = tmp_path.glob("*.txt")
    assert f"completed: {report}" in said
    assert report.read_text().endswith(f"Today of {topic}")
