"""Drives the scripts directly, without an engine."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evented_agent.chunks import AnyChunk
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.codec import encode
from evented_agent.client.reader import Reader
from evented_agent.ledger import attempts, runs, watch
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    FORMAT,
    Claim,
    Committed,
    JournalChanged,
    NewMessage,
    NewTask,
    Refused,
    Sent,
    Signal,
    Task,
    Work,
)
from tests.support.servers import RedisServer, free_port
from tests.support.workers import wait_until

WORKER = attempts.Worker("w1", "w1/1", 3000)
FIELDS: dict[str, str | int] = {
    "v": 1,
    "agent": "a",
    "messages": "[]",
    "options": "{}",
    "queue": "q",
    "ttl_topic": 10_000,
    "ttl_record": 20_000,
    "abort_grace": 5000,
    "tool_limit": 2,
}


def message(id_: str, **how: Any) -> NewMessage:
    """A message as the script takes it."""
    said = [{"role": "user", "content": id_}]
    return NewMessage(
        id=id_,
        digest=id_,
        entry=dump_json({"k": "message", "id": id_, "said": said}),
        chunk=encode("message-queued", None, {"messageId": id_, "input": said}),
        **how,
    )


class Driver:
    """Drives the scripts of one deployment."""

    def __init__(self, ledger: Ledger, keys: Keys) -> None:
        self.ledger = ledger
        self.keys = keys

    def create(self, run_id: str, *, digest: str = "d", **fields: str | int) -> bool:
        return self.ledger.send(
            runs.create(
                self.keys,
                run_id,
                digest=digest,
                fields=FIELDS | fields,
                indexes=[("all", ""), ("agent", "a")],
                first=NewTask("1:model", "model", 1),
                chunks=[encode("start", None, {"id": "a"})],
            )
        )

    #: Whom the worker serves.
    agents: Sequence[str] = ("a",)

    def claim(self, run_id: str, key: str = "1:model", token: str = "t") -> Claim | Refused:
        how = {"token": token, "worker": WORKER, "newest": FORMAT, "agents": self.agents}
        return self.ledger.send(attempts.claim(self.keys, run_id, key, **how))  # type: ignore[arg-type]

    def granted(self, run_id: str, key: str = "1:model", token: str = "t") -> Task:
        claim = self.claim(run_id, key, token)
        assert isinstance(claim, Claim), claim
        return claim.task

    def say(self, task: Task, text: str, sent: int) -> Signal | None:
        part = f"txt-1.{task.generation}"
        return self.ledger.send(
            attempts.append(
                self.keys,
                task.run_id,
                task.key,
                token=task.token,
                sent=sent,
                chunks=[
                    encode("text-start", task.key, {"id": part}),
                    encode("text-delta", task.key, {"id": part, "text": text}),
                ],
                closing=[encode("text-end", task.key, {"id": part})],
            )
        )

    def commit(self, task: Task, sent: int = 0, **work: object) -> Committed | JournalChanged:
        return self.ledger.send(
            attempts.commit(
                self.keys,
                task,
                sent=sent,
                work=Work(**work),  # type: ignore[arg-type]
                worker=WORKER,
                end_token=f"end-{task.key}",
            )
        )

    def committed(self, task: Task, sent: int = 0, **work: object) -> Committed:
        done = self.commit(task, sent, **work)
        assert isinstance(done, Committed)
        return done

    def put(self, run_id: str, id_: str, **how: Any) -> Sent | None:
        call = runs.put_message(self.keys, run_id, message(id_, **how), notifies=True)
        return self.ledger.send(call)

    def expire(self, task: Task) -> None:
        """Let the lease of an attempt run out."""
        call = attempts.heartbeat(
            self.keys, task.run_id, task.key, token=task.token, lease_ms=-1000
        )
        self.ledger.send(call)

    def reconcile(self, run_id: str, *, may_send: bool = True, grace: int = 0) -> watch.Reconciled:
        now = self.ledger.send(runs.read(self.keys, run_id)).now
        look = watch.Tick(is_watching=True, now=now, grace_until=grace and now + grace)
        call = watch.reconcile(self.keys, run_id, look=look, may_send=may_send, jitter=0)
        return self.ledger.send(call)

    def types(self, run_id: str) -> list[str]:
        return [chunk.type for chunk in self.chunks(run_id)]

    def chunks(self, run_id: str) -> list[AnyChunk]:
        """All chunks so far."""
        reader = Reader(self.keys, self.ledger, run_id)
        seen: list[AnyChunk] = []
        try:
            seen.extend(chunk for chunk in reader.chunks(0, timeout=0.05) if chunk)
        except TimeoutError:
            # The run goes on: this is all so far.
            return seen
        return seen

    def alarm(self, run_id: str) -> float | None:
        keys = self.keys.of(run_id)
        scores = [self.ledger.client().zscore(key, run_id) for key in (keys.alarms, keys.bells)]
        return min((float(score) for score in scores if score is not None), default=None)


@contextmanager
def cluster_server(folder: Path) -> Iterator[RedisServer]:
    """A cluster of one node, which refuses what crosses slots or is not declared."""
    options = ("--cluster-enabled", "yes", "--cluster-config-file", "n.conf")
    with RedisServer(folder, extra=(*options, "--cluster-port", str(free_port()))) as server:
        client = server.client()
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]

        def is_up() -> bool:
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"CLUSTER INFO\r\n")
                return b"cluster_state:ok" in connection.recv(4096)

        wait_until(is_up, "the cluster serves all slots")
        client.close()
        yield server
