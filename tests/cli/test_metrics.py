"""``metrics``: printed once, or served on this machine alone."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from evented_agent import Agent, Settings, create_durable_agent
from evented_agent.cli import main
from evented_agent.testing import ScriptedModel
from tests.support.command_line import cli_runner
from tests.support.servers import RedisServer
from tests.support.workers import ROOT

SCRIPT = str(Path(sys.executable).with_name("evented-agent"))


@pytest.fixture
def place(redis_server: RedisServer) -> list[str]:
    """Where two agents run in processes of their own, each with a run that has ended."""
    prefix = f"p{uuid.uuid4().hex[:8]}"
    for name in ("ann", "bob"):
        agent = Agent(id=name, model=ScriptedModel(["Hello."]))
        local = create_durable_agent(
            agent, redis_url=redis_server.url, settings=Settings(prefix=prefix)
        )
        local.generate("Hello.", timeout=20)
        local.close()
    return ["--redis", redis_server.url, "--prefix", f"{prefix}.ann"]


def test_it_is_printed_in_the_format_of_prometheus_or_as_json(place: list[str]) -> None:
    done = cli_runner().invoke(main, [*place, "metrics"])
    as_json = cli_runner().invoke(main, [*place, "--json", "metrics"])

    assert (done.exit_code, done.stderr) == (0, "")
    assert 'evented_agent_steps_total{agent="ann"} 1\n' in done.stdout
    assert json.loads(as_json.stdout)["counters"]["runs_finished"] == {"ann": 1}


def test_it_is_served_until_ctrl_c_to_who_asks_for_this_machine(place: list[str]) -> None:
    serving = subprocess.Popen(
        [SCRIPT, *place, "metrics", "--serve", "0"],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stderr is not None
    url = serving.stderr.readline().strip()
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)
        with urllib.request.urlopen(url, timeout=20) as reply:
            assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert b'evented_agent_steps_total{agent="ann"} 1\n' in reply.read()
        foreign = urllib.request.Request(url, headers={"host": "evil.example:80"})
        for refused in (foreign, url.replace("/metrics", "/")):
            with pytest.raises(urllib.error.HTTPError, match="404") as raised:
                urllib.request.urlopen(refused, timeout=20)
            raised.value.close()
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=20)
    assert serving.returncode == 130
