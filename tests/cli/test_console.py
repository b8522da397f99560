"""``evented-agent console``: whom it serves, and how one gets in."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from evented_agent.cli import main
from tests.support.command_line import cli_runner
from tests.support.servers import RedisServer, free_port
from tests.support.warm_start import WarmProcess, start_warm
from tests.support.workers import wait_until

Start = Callable[..., str]


@pytest.fixture
def start(redis_server: RedisServer, tmp_path: Path) -> Iterator[Start]:
    """Start the command; the address that it prints."""
    started: list[WarmProcess | subprocess.Popen[bytes]] = []

    def begin(*options: str) -> str:
        output = tmp_path / f"output{len(started)}"
        place = ["--redis", redis_server.url, "--prefix", "console"]
        with output.open("wb") as file:
            started.append(
                start_warm(["evented-agent", "console", *place, *options], os.environ, file)
            )
        wait_until(lambda: "http://" in output.read_text(), "the address is printed", 60)
        return output.read_text().splitlines()[0]

    yield begin
    for process in started:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (130, -signal.SIGINT)


def test_the_printed_address_works_once_and_gives_a_cookie_for_this_site_alone(
    start: Start,
) -> None:
    address = start("--port", str(free_port()))
    base = address.partition("/console")[0]
    with httpx.Client(base_url=base, trust_env=False) as mine:
        assert mine.get("/console").status_code == 401
        assert "evented-agent console" in mine.get("/console").text
        assert mine.get("/console/enter?token=guess").status_code == 403
        entered = mine.get(address)
        cookie = entered.headers["set-cookie"]

        assert entered.status_code == 200
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert "referrer-policy" in entered.headers
        assert mine.get("/console").status_code == 200
        assert mine.get("/").headers["location"] == "/console"
        # Whoever is in comes back with it; for others it is used up.
        assert mine.get(address).status_code == 303
        assert httpx.get(address, trust_env=False).status_code == 403
        assert mine.get("/console", headers={"host": "evil.example"}).status_code == 400
        foreign = {"origin": "https://evil.example"}
        assert mine.post("/console/bulk", headers=foreign).status_code == 403
        assert mine.post("/console/bulk", headers={"origin": base}).status_code == 400
        # A slash inside of a name is one only in the encoded form.
        slash = mine.get("/console/threads/a%2Fb")
        assert "conversation" in slash.text
        assert slash.status_code == 404


def test_another_host_needs_somebody_who_says_who_may_do_what(redis_server: RedisServer) -> None:
    command = ["console", "--redis", redis_server.url, "--host", "0.0.0.0"]
    refused = cli_runner().invoke(main, command)

    assert refused.exit_code == 2
    assert "--authorize" in refused.stderr


def test_with_authorize_it_is_asked_and_no_token_is_made(start: Start) -> None:
    address = start(
        *("--host", "0.0.0.0", "--port", str(free_port())),
        *("--authorize", "tests.support.operators:known_operator"),
    )
    url = address.replace("0.0.0.0", "127.0.0.1")

    assert address.endswith("/console")
    assert httpx.get(url, trust_env=False).status_code == 401
    for name, status in (("ann", 200), ("customer", 403)):
        headers = {"authorization": f"Bearer {name}"}
        assert httpx.get(url, headers=headers, trust_env=False).status_code == status


@pytest.mark.parametrize("given", ["nothing", "tests.none:x", "tests.support.operators:none"])
def test_an_authorize_that_is_not_there_is_told(redis_server: RedisServer, given: str) -> None:
    command = ["console", "--redis", redis_server.url, "--authorize", given]
    refused = cli_runner().invoke(main, command)

    assert refused.exit_code == 2
    assert given in refused.stderr


def test_a_port_that_is_taken_is_told(redis_server: RedisServer) -> None:
    taken = str(redis_server.port)
    refused = cli_runner().invoke(main, ["console", "--redis", redis_server.url, "--port", taken])

    assert refused.exit_code == 1
    assert re.search(rf"cannot listen on port {taken}", refused.stderr)


def test_two_consoles_have_a_port_each(start: Start) -> None:
    first, second = start(), start("--json")

    assert json.loads(second)["url"].partition("/console")[0] not in first
