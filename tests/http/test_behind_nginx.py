"""Behind nginx with its defaults: nothing is held back, and a drop or a deploy loses nothing."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from evented_agent import InProcessAgent
from evented_agent.web import create_app
from tests.http.agents import GATES
from tests.http.conftest import Served, authorize, serving
from tests.http.requests import call, events_of, reading, text_of, until_type
from tests.http.test_servers import SERVERS, WebServer
from tests.support.servers import free_port
from tests.support.workers import wait_until

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(
    NGINX is None, reason="apt install nginx-light, to see it behind it"
)

#: As Debian has it, where that matters: buffers, gzip and timeouts are nginx's defaults.
CONFIGURATION = """
daemon off; pid FOLDER/nginx.pid; error_log FOLDER/error.log;
events {}
http {
  access_log off; gzip on;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/f; uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
  server {
    listen 127.0.0.1:PORT;
    location /agents/ { proxy_pass http://127.0.0.1:BEHIND/; proxy_set_header Host $http_host; }
  }
}
"""


@contextlib.contextmanager
def nginx(folder: Path, behind: int) -> Iterator[str]:
    """Serve what listens on that port below ``/agents``; the URL."""
    port = free_port()
    text = CONFIGURATION.replace("FOLDER", str(folder)).replace("PORT", str(port))
    configuration = folder / "nginx.conf"
    configuration.write_text(text.replace("BEHIND", str(behind)))
    process = subprocess.Popen(
        [str(NGINX), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)],
        start_new_session=True,
    )

    def answers() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code > 0
        return False

    try:
        wait_until(answers, "nginx answers")
        yield f"http://127.0.0.1:{port}/agents"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def ann(durable: InProcessAgent, tmp_path: Path) -> Iterator[httpx.Client]:
    """Ann's client through nginx; heartbeats are frequent."""
    app = create_app(durable.client, authorize=authorize)
    app._site = dataclasses.replace(app._site, heartbeat=0.05)
    with serving(app) as own, nginx(tmp_path, int(own.url.rpartition(":")[2])) as url:
        through = Served(url)
        yield through.as_("ann")
        through.close()


def test_each_event_and_heartbeat_passes_at_once(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run = durable.stream(call("hold", name="nginx"), resource_id="ann")

    with reading(ann, run.run_id) as lines:
        assert next(lines) == ": hb"
        until_type(lines, "tool-call")
        # The run waits, so there is nothing to come but signs of life.
        assert [line for line, _ in zip(lines, range(6), strict=False) if line] == [": hb"] * 3
        GATES["nginx"].set()
        until_type(lines, "finish")


def test_what_is_long_passes_whole_and_is_not_compressed(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run = durable.stream("say " + "word " * 20_000, resource_id="ann")
    run.result(30)

    reply = ann.get(f"/runs/{run.run_id}/stream", headers={"accept-encoding": "gzip"})

    assert "content-encoding" not in reply.headers
    assert reply.headers["cache-control"] == "no-cache"
    events = events_of(reply.text)
    assert text_of(events) == "word " * 20_000
    assert all(
        int(later.partition("-")[0]) == int(earlier.partition("-")[0]) + 1
        for (earlier, _), (later, _) in pairwise(events)
    )


def test_a_deploy_behind_it_ends_streams_without_an_end_of_the_run(
    durable: InProcessAgent, tmp_path: Path
) -> None:
    server = WebServer(SERVERS["uvicorn"], durable.client.redis_url, tmp_path)
    run = durable.stream(call("hold", name="deploy"), resource_id="ann")
    try:
        with nginx(tmp_path, server.port) as url:
            through = Served(url)
            with reading(through.as_("ann"), run.run_id) as lines:
                seen = until_type(lines, "tool-call")
                server.process.send_signal(signal.SIGTERM)
                rest = [line for line in lines if line.startswith("data:")]
            server.process.wait(20)
            through.close()
    finally:
        server.close()

    assert rest == []
    GATES["deploy"].set()
    assert run.result(20).text == "deploy is open"
    last = durable.observe(run.run_id, after=seen[-1]["seq"])
    assert next(iter(last)).seq == seen[-1]["seq"] + 1
