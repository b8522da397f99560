"""A TCP proxy in front of Redis that sees every script call, before it is sent and after it ran.

It understands the protocol, not the scripts: tests decide at each write what happens to it.
"""

import hashlib
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import evented_agent
from evented_agent.ledger.script import script
from tests.support.tcp_proxy import TcpProxy

#: Scripts whose second argument is a task's key, or the id of a message.
ABOUT_TASKS = {
    *("claim", "append", "heartbeat", "commit", "requeue", "blob", "suspend", "wake"),
    *("close", "send", "spawn"),
}
ABOUT_RUNS = {
    *("create", "release", "abort", "reconcile", "give_up_run", "delete", "read", "resume"),
    *("retry_failed", "enter", "leave_thread", "remember", "forget_run"),
    # The first argument of bind is a message's id.
    *("yield_turn", "bind"),
}
#: Scripts of the deployment.
ABOUT_NONE = {
    *("announce", "deployment", "forget", "forget_gone", "list", "oldest", "ring", "tick", "trim"),
    *("whose", "workers", "about", "retitle", "add_counts", "take_ended", "about_ended"),
}
#: Scripts that change nothing.
READING = {"read", "list", "oldest", "whose", "workers", "about", "about_ended"}

#: Commands that `Proxy.say` answers.
_ANSWERED = {b"EVAL", b"EVALSHA", b"XREAD", b"XRANGE", b"HMGET"}

Moment = Literal["before", "after"]


@dataclass(frozen=True, order=True)
class Write:
    """The *nth* call of a script for a task of a run (from 1 on)."""

    script: str
    run_id: str = ""
    task: str = ""
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.script} {self.task} #{self.nth}".replace("  ", " ")


#: Told of each write; False cuts the connection: before, the write is lost; after, its reply.
Watch = Callable[[Write, Moment], bool]


def let_pass(_write: Write, _moment: Moment) -> bool:
    return True


class Proxy(TcpProxy):
    """Passes on what clients say to the server at *port*, one command at a time."""

    def __init__(self, port: int, watch: Watch = let_pass) -> None:
        super().__init__(port)
        self.watch = watch
        #: Commands that reach the server twice.
        self.doubled: set[bytes] = set()
        self._known = {
            script(f"{path.parent.name}/{path.stem}").sha.encode(): path.stem
            for path in (Path(evented_agent.__file__).parent / "ledger/lua").glob("*/*.lua")
            if path.stem in ABOUT_TASKS | ABOUT_RUNS | ABOUT_NONE
        }
        self._seen: Counter[Write] = Counter()
        self._is_open = threading.Event()
        self._is_open.set()
        self._said: deque[bytes] = deque()
        self._says = b""
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __exit__(self, *_: object) -> None:
        self._is_open.set()
        super().__exit__()

    def freeze(self) -> None:
        """Hold everything: the network swallows packets without a word."""
        self._is_open.clear()

    def thaw(self) -> None:
        self._is_open.set()

    def say(self, reply: str, times: int) -> None:
        """Answer the next commands with an error reply, in place of the server."""
        self._said.extend([b"-%s\r\n" % reply.encode()] * times)

    def keep_saying(self, reply: str) -> None:
        """Answer all commands with an error reply, in place of the server; "" lets them pass."""
        self._says = b"-%s\r\n" % reply.encode() if reply else b""

    @property
    def left_to_say(self) -> int:
        return len(self._said)

    def lead_to(self, port: int) -> None:
        """Connect whoever comes with another server; those that are connected stay."""
        self._upstream = port

    def send_to(self, port: int) -> None:
        """Go on with another server, as after a failover."""
        self._upstream = port
        self.cut()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client.makefile("rb") as asked, server.makefile("rb") as answered:
            while True:
                raw, words = _command(asked)
                self._is_open.wait()
                if words[0].upper() in _ANSWERED and (says := self._said_instead()):
                    client.sendall(says)
                    continue
                write = self._write(words)
                if write and not self.watch(write, "before"):
                    return
                if words[0].upper() in self.doubled:
                    server.sendall(raw)
                    _reply(answered)
                server.sendall(raw)
                reply = _reply(answered)
                self._is_open.wait()
                if write and reply.startswith(b"-NOSCRIPT"):
                    self._forget(write)
                elif write and not self.watch(write, "after"):
                    return
                client.sendall(reply)

    def _said_instead(self) -> bytes:
        return self._said.popleft() if self._said else self._says

    def _write(self, words: list[bytes]) -> Write | None:
        if words[0].upper() not in (b"EVALSHA", b"EVAL"):
            return None
        name = self._known.get(words[1]) or self._known.get(_sha(words[1]))
        if name is None or name in READING:
            return None
        arguments = [word.decode() for word in words[3 + int(words[2]) :][:2]]
        run_id = arguments[0] if name not in ABOUT_NONE else ""
        task = arguments[1] if name in ABOUT_TASKS else ""
        about = Write(name, run_id, task)
        with self._lock:
            self._seen[about] += 1
            return Write(name, run_id, task, self._seen[about])

    def _forget(self, write: Write) -> None:
        """The server did not know the script; the client sends it whole."""
        with self._lock:
            self._seen[Write(write.script, write.run_id, write.task)] -= 1


def _sha(source: bytes) -> bytes:
    return hashlib.sha1(source).hexdigest().encode()


def _line(stream: BinaryIO) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line


def _command(stream: BinaryIO) -> tuple[bytes, list[bytes]]:
    """The next command: as it came, and its words."""
    head = _line(stream)
    raw, words = [head], []
    for _ in range(int(head[1:])):
        size = _line(stream)
        word = stream.read(int(size[1:]) + 2)
        raw += [size, word]
        words.append(word[:-2])
    return b"".join(raw), words


def _reply(stream: BinaryIO) -> bytes:
    """The next reply, as it came."""
    head = _line(stream)
    kind, rest = head[:1], head[1:]
    if kind == b"$" and int(rest) >= 0:
        return head + stream.read(int(rest) + 2)
    if kind in b"*~%" and int(rest) > 0:
        count = int(rest) * (2 if kind == b"%" else 1)
        return head + b"".join(_reply(stream) for _ in range(count))
    return head
