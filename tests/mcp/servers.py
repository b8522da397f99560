"""How the tests start their MCP servers, and what they count of them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from evented_agent import MCPServer
from tests.support.servers import free_port
from tests.support.workers import ROOT, wait_until

HERE = Path(__file__).parent
SHOP = [sys.executable, str(HERE / "shop_server.py")]
HOSTILE = [sys.executable, str(HERE / "hostile_server.py")]


def shop(folder: Path, **options: object) -> MCPServer:
    """The shop as a program."""
    return MCPServer("shop", command=[*SHOP, str(folder)], **options)  # type: ignore[arg-type]


def hostile(how: str, **options: object) -> MCPServer:
    """The server that does what no server should."""
    return MCPServer("evil", command=[*HOSTILE, how], **options)  # type: ignore[arg-type]


@contextlib.contextmanager
def shop_over_http(folder: Path, port: int | None = None) -> Iterator[str]:
    """The shop over HTTP; gives its URL."""
    port = port or free_port()
    log = (folder / f"log-{port}").open("wb")
    process = subprocess.Popen(
        [*SHOP, str(folder), str(port)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        wait_until(
            lambda: b"Uvicorn running" in (folder / f"log-{port}").read_bytes(), "it listens"
        )
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()
        log.close()


def count(folder: Path, mark: str) -> int:
    """How often the shop did something."""
    return len(pids(folder, mark))


def pids(folder: Path, mark: str) -> list[int]:
    """Which processes of the shop did something, in order."""
    file = folder / mark
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_alive(pid: int) -> bool:
    """Whether a process runs, zombies apart."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    except OSError:
        os.kill(pid, 0)
        return True
    return state != "Z"
