"""Throw-away servers for tests, on free loopback ports."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import redis

from evented_agent.ledger.embedded_server import find_binary

#: Below the ports that systems give to outgoing connections, one of which may come in between.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A port on which nobody listens; never one that tests beside this one choose alike."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """A real server whose life the test controls."""

    def __init__(
        self, directory: Path, *, aof: bool = True, extra: Sequence[str] = (), port: int = 0
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = ["--appendonly", "yes" if aof else "no", *extra]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            find_binary(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(self.directory), *self._options),
        ]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait_for_pong()
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url)

    def kill(self) -> None:
        assert self._process is not None
        self.resume()
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _wait_for_pong(self) -> None:
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            # Between two looks: the loop has a bound.
            time.sleep(0.01)
        raise AssertionError(f"No answer: {(self.directory / 'server.log').read_text()[-500:]}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitServer:
    """A real RabbitMQ whose life the test controls, with an Erlang name server of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._env = {
            **os.environ,
            "HOME": str(directory),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "none"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [RABBITMQ], env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"AMQP\x00\x00\x09\x01")
                    if connection.recv(8):
                        return self
            except OSError:
                # Between two looks: the loop has a bound.
                time.sleep(0.1)
        raise AssertionError(f"No answer: {(self.directory / 'server.log').read_text()[-500:]}")

    def restart(self) -> None:
        self.kill()
        self.start()

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        # Left to itself the server would start one that outlives it.
        self._names = subprocess.Popen(["epmd"], env=self._env, stderr=subprocess.DEVNULL)
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._names.kill()
        self._names.wait()
