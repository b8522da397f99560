"""Clusters and Sentinel groups for tests, on free loopback ports, whose members tests may kill."""

import contextlib
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from evented_agent.ledger.embedded_server import find_binary
from tests.support.servers import RedisServer, free_port
from tests.support.workers import wait_until

#: Milliseconds without an answer after which a member counts as dead.
DEAD_AFTER = 1500
_REPLICATION = ("--repl-diskless-sync-delay", "0", "--repl-diskless-sync", "yes")


def ask(server: RedisServer, *words: Any) -> Any:
    """One command, over a connection of its own."""
    client = redis.Redis(port=server.port, socket_timeout=5, protocol=2)
    with contextlib.closing(client):
        return client.execute_command(*words)  # type: ignore[no-untyped-call]


def _answers(server: RedisServer, *words: Any) -> Any:
    try:
        return ask(server, *words)
    except (redis.RedisError, OSError):
        return b""


def _replication(server: RedisServer) -> dict[str, Any]:
    return dict(_answers(server, "INFO", "replication") or {})


def _kill_unseen(master: RedisServer, replicas: Sequence[RedisServer], seconds: float) -> None:
    live = [server for server in replicas if server.is_running]
    for server in live if seconds else ():
        server.pause()
    if seconds:
        # What is on its way would arrive when they wake up.
        ask(master, "CLIENT", "KILL", "TYPE", "replica")
    # The fault itself: so long nothing is replicated.
    time.sleep(seconds)
    master.kill()
    for server in live:
        server.resume()


class Cluster:
    """Three masters, each with a replica."""

    def __init__(
        self, folder: Path, *, extra: Sequence[str] = (), dead_after: int = DEAD_AFTER
    ) -> None:
        self.servers = [
            RedisServer(
                folder / str(number),
                extra=(
                    *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
                    *("--cluster-port", str(free_port())),
                    *("--cluster-node-timeout", str(dead_after), *_REPLICATION, *extra),
                ),
            )
            for number in range(6)
        ]

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"redis+cluster://{nodes}"

    def start(self) -> Self:
        for server in self.servers:
            server.start()
        first = self.servers[0]
        share = 16384 // 3
        for number, server in enumerate(self.servers[:3]):
            last = 16383 if number == 2 else (number + 1) * share - 1
            ask(server, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
            ask(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            ask(first, "CLUSTER", "MEET", "127.0.0.1", server.port, self._bus_port(server))
        wait_until(lambda: all(self._knows_all(s) for s in self.servers), "all nodes have met")
        for number, server in enumerate(self.servers[3:]):
            ask(server, "CLUSTER", "REPLICATE", self.id_of(self.servers[number % 3]))
        self.wait_healthy()
        return self

    def wait_healthy(self) -> None:
        """Wait until each live server agrees, and each live replica follows its master."""

        def is_healthy() -> bool:
            live = [server for server in self.servers if server.is_running]
            owners = {str(sorted(self.owners(server).items())) for server in live}
            return len(owners) == 1 and all(
                b"cluster_state:ok" in _answers(server, "CLUSTER", "INFO")
                and _replication(server).get("master_link_status", "up") == "up"
                for server in live
            )

        wait_until(is_healthy, "the cluster is healthy", 60)

    def owners(self, asked: RedisServer) -> dict[tuple[int, int], int]:
        """The port of the master of each range of slots, as *asked* knows it."""
        found = _answers(asked, "CLUSTER", "SLOTS")
        return {(int(a), int(b)): int(master[1]) for a, b, master, *_ in found or ()}

    def master_of(self, key: str) -> RedisServer:
        slot = key_slot(key.encode())
        [live, *_] = [server for server in self.servers if server.is_running]
        [port] = [p for (a, b), p in self.owners(live).items() if a <= slot <= b]
        return next(server for server in self.servers if server.port == port)

    def id_of(self, server: RedisServer) -> str:
        return str(ask(server, "CLUSTER", "MYID").decode())

    def masters(self) -> list[RedisServer]:
        [live, *_] = [server for server in self.servers if server.is_running]
        ports = set(self.owners(live).values())
        return [server for server in self.servers if server.port in ports]

    def move(self, key: str, *, pause: float = 0.0) -> RedisServer:
        """Move the slot of *key* to the next master, key by key; returns the new owner.

        *pause* is how many seconds the slot is half moved.
        """
        slot, source = key_slot(key.encode()), self.master_of(key)
        masters = self.masters()
        target = masters[(masters.index(source) + 1) % len(masters)]
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        half = int(ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot)) // 2
        moved = 0
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            where = ("127.0.0.1", target.port, "", 0, 5000, "KEYS")
            ask(source, "MIGRATE", *where, *keys)
            if moved <= half < moved + len(keys):
                # What is under way meets a slot in two halves: a fault, not a wait.
                time.sleep(pause)
            moved += len(keys)
        for server in (target, source, *(m for m in masters if m not in (target, source))):
            ask(server, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))
        return target

    def fail_over(self, key: str, *, unseen: float = 0.0) -> RedisServer:
        """Kill the master of *key* and wait until its replica has taken over; returns the dead.

        What was written in the last *unseen* seconds is lost: the replica has not seen it.
        """
        dead = self.master_of(key)
        _kill_unseen(dead, [self.replica_of(dead)], unseen)
        self.wait_for_other(key, dead)
        return dead

    def wait_for_other(self, key: str, than: RedisServer) -> None:
        wait_until(lambda: self._has_taken_over(key, than), "a replica has taken over", 30)

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The first of the replicas that follow *master*."""
        port = _replication(master)["slave0"]["port"]
        return next(server for server in self.servers if server.port == port)

    def wait_for_replicas(self) -> None:
        """Wait until each live replica follows its master."""
        self.wait_healthy()

    def _has_taken_over(self, key: str, dead: RedisServer) -> bool:
        slot = key_slot(key.encode())
        live = [server for server in self.servers if server.is_running and server is not dead]
        return all(
            [port for (a, b), port in self.owners(server).items() if a <= slot <= b]
            not in ([], [dead.port])
            and b"cluster_state:ok" in _answers(server, "CLUSTER", "INFO")
            for server in live
        )

    def _bus_port(self, server: RedisServer) -> int:
        return int(ask(server, "CONFIG", "GET", "cluster-port")[1])

    def _knows_all(self, server: RedisServer) -> bool:
        lines = _answers(server, "CLUSTER", "NODES").decode().splitlines()
        return len(lines) == len(self.servers) and "handshake" not in " ".join(lines)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.__exit__()


class SentinelGroup:
    """A master with two replicas, and three Sentinels that watch them."""

    NAME = "main"

    def __init__(self, folder: Path, *, extra: Sequence[str] = ()) -> None:
        self.folder = folder
        self.servers = [
            RedisServer(folder / f"server{number}", extra=(*_REPLICATION, *extra))
            for number in range(3)
        ]
        self.sentinels = [free_port() for _ in range(3)]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"sentinel://{nodes}/0?master={self.NAME}"

    @property
    def broker_url(self) -> str:
        """As Celery wants it; its options say which master."""
        return ";".join(f"sentinel://127.0.0.1:{port}/0" for port in self.sentinels)

    @property
    def master(self) -> RedisServer:
        port = self._master_port(self.sentinels[0])
        return next(server for server in self.servers if server.port == port)

    def start(self) -> Self:
        first, *others = self.servers
        first.start()
        for server in others:
            server.start()
            ask(server, "REPLICAOF", "127.0.0.1", first.port)
        for port in self.sentinels:
            self._start_sentinel(port, first.port)
        wait_until(lambda: all(map(self._is_ready, self.sentinels)), "the Sentinels agree", 60)
        return self

    def fail_over(self, *, unseen: float = 0.0) -> RedisServer:
        """Kill the master and wait until another has taken over; returns the dead.

        What was written in the last *unseen* seconds is lost: no replica has seen it.
        """
        dead = self.master
        _kill_unseen(dead, [server for server in self.servers if server is not dead], unseen)
        self.wait_for_other(dead)
        return dead

    def wait_for_other(self, than: RedisServer) -> None:
        def is_over() -> bool:
            ports = {self._master_port(port) for port in self.sentinels}
            others = [s for s in self.servers if s.port in ports and s is not than]
            return (
                len(ports) == len(others) == 1 and _replication(others[0]).get("role") == "master"
            )

        wait_until(is_over, "another server is the master", 60)

    def wait_for_replicas(self) -> None:
        """Wait until each live server but the master follows it."""
        count = sum(server.is_running for server in self.servers) - 1

        def follow() -> bool:
            said = _replication(self.master)
            online = [n for n in range(count) if said.get(f"slave{n}", {}).get("state") == "online"]
            return len(online) == count

        wait_until(follow, "the replicas follow the master", 60)

    def wait_healthy(self) -> None:
        self.wait_for_replicas()

    def ask_sentinel(self, *words: str) -> Any:
        return self._sentinel(self.sentinels[0], *words)

    def _start_sentinel(self, port: int, master_port: int) -> None:
        folder = self.folder / f"sentinel{port}"
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {self.NAME} 127.0.0.1 {master_port} 2\n"
            f"sentinel down-after-milliseconds {self.NAME} {DEAD_AFTER}\n"
            f"sentinel failover-timeout {self.NAME} 5000\n"
        )
        with (folder / "sentinel.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen([find_binary(), config, "--sentinel"], stdout=log, stderr=log)
            )

    def _sentinel(self, port: int, *words: str) -> Any:
        client = redis.Redis(port=port, socket_timeout=5, protocol=2)
        with contextlib.closing(client):
            try:
                return client.execute_command("SENTINEL", *words)  # type: ignore[no-untyped-call]
            except (redis.RedisError, OSError):
                return None

    def _master_port(self, sentinel: int) -> int:
        found = self._sentinel(sentinel, "get-master-addr-by-name", self.NAME)
        return int(found[1]) if found else 0

    def _is_ready(self, sentinel: int) -> bool:
        said = self._sentinel(sentinel, "master", self.NAME)
        if not said:
            return False
        state: dict[bytes, bytes] = dict(zip(said[::2], said[1::2], strict=True))
        return (int(state[b"num-slaves"]), int(state[b"num-other-sentinels"])) == (2, 2)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for server in self.servers:
            server.__exit__()
