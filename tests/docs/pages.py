"""A page of the documentation as somebody works through it: files, pasted blocks, commands."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Self

from tests.support.servers import free_port
from tests.support.workers import ROOT, wait_until

#: Commands that are run to their end by other tests, or by the fixture: they need a network, or a
#: key, or have minutes of their own.
ELSEWHERE = {
    "pip install": "the environment has the wheel",
    "export OPENAI_API_KEY=": "the environment has one",
    "git clone": "there is a clone",
    "make demo": "tests/cli/test_demo.py",
}
#: Commands that go on, and what they print when they are ready.
SERVERS = {
    "worker": r" ready\.",
    "console": r"http://.*/console",
    "uvicorn": "Application startup complete",
    "flower": "Visit me at|Broker: ",
    "runserver": "Starting development server",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where it begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that its first line says it is."""
        found = re.match(r"(?:#|<!--) ([\w/]+\.(?:py|html))", self.text)
        return None if found is None else found[1]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = page.read_text()
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in found]


class Interpreter:
    """The interpreter of an environment, from which each page has one of its own."""

    def __init__(self, bin_: Path) -> None:
        code = str(Path(__file__).with_name("session.py"))
        self._process = subprocess.Popen(
            [str(bin_ / "python"), "-W", "error::RuntimeWarning", code],
            env={"PATH": os.defpath},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def start(self, folder: Path, env: Mapping[str, str]) -> "Session":
        """An interpreter in a folder, with an environment."""
        pipes = {name: folder.parent / name for name in ("blocks", "answers")}
        for pipe in pipes.values():
            os.mkfifo(pipe)
        page = {"folder": str(folder), "env": dict(env), **{k: str(v) for k, v in pipes.items()}}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(page) + "\n")
        self._process.stdin.flush()
        return Session(pipes["blocks"].open("w"), pipes["answers"].open())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@dataclass(frozen=True)
class Session:
    """An interpreter into which blocks are pasted."""

    blocks: IO[str]
    answers: IO[str]

    def paste(self, name: str, source: str) -> str:
        """What went wrong, as Python shows it; "" where nothing did."""
        self.blocks.write(json.dumps({"name": name, "source": source}) + "\n")
        self.blocks.flush()
        answer = self.answers.readline()
        assert answer, f"{name}: the interpreter has ended"
        problem: str = json.loads(answer)
        return problem

    def close(self) -> None:
        """Let it end, and wait for that."""
        self.blocks.close()
        assert self.answers.read() == ""
        self.answers.close()


class Walk:
    """Works through one page in an empty folder, with the commands of an environment."""

    def __init__(
        self, page: Path, folder: Path, env: Mapping[str, str], interpreter: Interpreter
    ) -> None:
        self.name = str(page.relative_to(ROOT))
        # Another program of this machine may have the port of the page.
        port = str(free_port())
        self.blocks = [
            replace(block, text=block.text.replace("8000", port)) for block in blocks_of(page)
        ]
        self.done = 0
        self.elsewhere = 0
        self._folder = folder
        self._env = dict(env)
        self._interpreter = interpreter
        self._session: Session | None = None
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()
        for server in self._servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    def all(self) -> None:
        """Do what each block says."""
        for block in self.blocks:
            if block.file is not None:
                self._write(block)
            elif block.language == "python":
                self._paste(block)
                self.done += 1
            elif block.language == "console":
                self._type(block)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment in the folder."""
        return subprocess.run(
            command, cwd=self._folder, env=self._env, capture_output=True, text=True, timeout=120
        )

    def _write(self, block: Block) -> None:
        assert block.file is not None
        path = self._folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        self.done += 1
        module = block.file.removesuffix(".py")
        rest = "\n".join(other.text for other in self.blocks if other is not block)
        if block.language != "python" or re.search(rf"\b{module}(?:\.py|:|\b)", rest):
            # Another block imports it, or runs it.
            return
        done = self.run("python", block.file)
        assert done.returncode == 0, f"{self.name}:{block.line}\n{done.stdout}{done.stderr}"

    def _paste(self, block: Block) -> None:
        if self._session is None:
            self._session = self._interpreter.start(self._folder, self._env)
        problem = self._session.paste(f"<{self.name}:{block.line}>", block.text)
        assert not problem, f"{self.name}:{block.line}\n{problem}"

    def _type(self, block: Block) -> None:
        for command, shown in _commands(block.text):
            if any(command.startswith(known) for known in ELSEWHERE):
                self.elsewhere += 1
                continue
            self.done += 1
            words = command.split()
            if ready := next((SERVERS[word] for word in words if word in SERVERS), None):
                self._serve(command, ready)
                continue
            done = self.run("sh", "-c", command)
            assert done.returncode == 0, f"{self.name}: {command}\n{done.stdout}{done.stderr}"
            if shown:
                assert done.stdout.splitlines() == shown, f"{self.name}: {command}\n{done.stderr}"

    def _serve(self, command: str, ready: str) -> None:
        log = self._folder / f"server-{len(self._servers)}.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                ["sh", "-c", f"exec {_without_assignments(command)}"],
                cwd=self._folder,
                env={**self._env, **_assignments(command)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._servers.append(server)

        def is_ready() -> bool:
            assert server.poll() is None, f"{self.name}: {command}\n{log.read_text()}"
            return re.search(ready, log.read_text(errors="replace")) is not None

        wait_until(is_ready, f"{command} is ready", 60)


def _commands(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    """The commands of a block, each with the lines that it is shown to print."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    for part in parts:
        command, *shown = part.rstrip("\n").split("\n")
        yield re.sub(r"\s+# .*", "", command), shown


def _assignments(command: str) -> dict[str, str]:
    words = re.match(r"(?:[A-Z_]+=\S+ )*", command)
    return dict(word.split("=", 1) for word in words[0].split()) if words else {}


def _without_assignments(command: str) -> str:
    return re.sub(r"^(?:[A-Z_]+=\S+ )*", "", command)
