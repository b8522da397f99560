"""The example of an editor with three researchers, as its first lines start it."""

import json
import subprocess
import sys
import uuid
from pathlib import Path

from tests.examples.model_server import Call, ModelServer
from tests.examples.test_background_report import environment
from tests.support.servers import RedisServer
from tests.support.workers import ROOT


def test_one_of_the_researchers_asks_before_it_buys(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    topic = f"tea {uuid.uuid4().hex[:8]}"

    def ask(name: str) -> Call:
        return Call(name, json.dumps({"input": f"{name} about {topic}"}))

    model = ModelServer()
    bought = Call("buy_article", json.dumps({"title": "Leaves", "price": 3.5}))
    model.answers(f"historian about {topic}", ["Tea is old."])
    model.answers(f"economist about {topic}", [bought], ["Tea is cheap."])
    model.answers(f"physician about {topic}", ["Tea is healthy."])
    names = ("historian", "economist", "physician")
    model.answers(f"What is better: {topic}", [*map(ask, names)], ["Tea it is."])
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples/research_team.py"), topic],
            env=environment(redis_server, model, tmp_path),
            input="y\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        model.close()

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for number in (1, 2, 3):
        assert f"  [{number}: start]" in lines
        # It may stand behind the question, which no line ends.
        assert done.stdout.count(f"[{number}: finish]") == 1
    assert any("economist wants buy_article" in line for line in lines)
    assert "Tea it is." in lines
