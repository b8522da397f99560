"""Runs the demo: a private server, a model, two workers, one run, one kill, and the checks."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from evented_agent import EventedAgent, EventedAgentError, create_evented_agent
from evented_agent.cli.demo.agent import REQUEST, make_librarian
from evented_agent.cli.demo.browser import console_command, show_console
from evented_agent.cli.demo.checks import (
    Check,
    check_calls,
    check_files,
    check_index,
    check_recovery,
    check_text,
)
from evented_agent.cli.demo.folder import lay_out
from evented_agent.cli.demo.follow import Story, StoryFollower
from evented_agent.cli.demo.processes import (
    BROKER_VARIABLE,
    MODEL_VARIABLE,
    DemoFailed,
    DemoProcess,
    logs_of,
    private_environment,
    wait_for,
)
from evented_agent.cli.demo.screen import Screen
from evented_agent.engines.celery.simple_app import simple_app
from evented_agent.ledger.embedded_server import EmbeddedServer, ensure_server, stop_server

DEFAULT_MODEL = "gpt-5.5"
WORKERS = ("one", "two")
#: Seconds that processes may take to start on a slow machine, and to end.
START, END = 90.0, 3.0
_INTERRUPTED = 130


def run_demo(kill: bool = True, *, has_console: bool = False) -> int:
    """Run the demo on this terminal; returns the exit code, 0 only if all that it claims holds.

    Everything happens in a temporary directory, on processes of its own, which are gone when this
    returns. With *kill* the worker that speaks is killed in the middle of its answer. The model is
    OpenAI's where ``OPENAI_API_KEY`` is set, else a rehearsed one. With *has_console* it serves the
    run to a browser as well, until it is interrupted.
    """
    screen = Screen()
    drama = "; in mid-answer its worker is killed" if kill else ""
    try:
        screen.line(f"An agent tidies a folder{drama}.", "bold")
        with (
            _interruptible(),
            private_environment(),
            TemporaryDirectory(prefix="ea-demo-", ignore_cleanup_errors=True) as home,
            ExitStack() as stack,
        ):
            stage = _set_stage(Path(home), stack, screen)
            wait = show_console(stage.librarian.client, stack, screen) if has_console else None
            code = _demo(stage, screen, kill=kill)
            if wait is not None:
                wait()
            return code
    except BrokenPipeError:
        return 1  # The reader has gone, as in `evented-agent demo | head`.
    except KeyboardInterrupt:
        screen.line()
        screen.line("Interrupted; workers, server and files are gone.")
        return _INTERRUPTED
    except (DemoFailed, EventedAgentError, OSError) as error:
        screen.line(f"The demo failed. {error}", "red")
        return 1


@dataclass(frozen=True, slots=True)
class Stage:
    """All that the run needs, up and running."""

    directory: Path
    before: Mapping[str, str]
    calls: Path
    librarian: EventedAgent
    workers: list[DemoProcess]


def _set_stage(home: Path, stack: ExitStack, screen: Screen) -> Stage:
    server = _start_server(home / "server", stack)
    model, env = _choose_model(home, stack, screen)
    workers = _start_workers(home, stack, {**env, BROKER_VARIABLE: server.broker_url}, model)
    directory = home / "folder"
    before = lay_out(directory)
    librarian = create_evented_agent(
        make_librarian(model), app=simple_app("evented_agent.cli.demo", server.broker_url)
    )
    stack.callback(librarian.client.ledger.close)
    wait_for(
        "both workers are ready",
        lambda: len(librarian.client.workers()) == len(workers),
        workers,
        seconds=START,
    )
    screen.line(f"  folder   {directory}, {len(before)} files", "dim")
    screen.line(f"  server   pid {server.pid}, a private one", "dim")
    pids = ", ".join(f"{worker.name} (pid {worker.pid})" for worker in workers)
    screen.line(f"  workers  {pids}", "dim")
    screen.line(f"  console  {console_command(server.url)}", "dim")
    return Stage(directory, before, home / "calls", librarian, workers)


def _start_server(directory: Path, stack: ExitStack) -> EmbeddedServer:
    server = ensure_server(directory)
    stack.callback(_stop_server, server)
    return server


def _stop_server(server: EmbeddedServer) -> None:
    try:
        stop_server(server.directory)
    finally:
        # It is a child of this process: its pid is nobody else's until it has been waited for.
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(server.pid, signal.SIGKILL)
            os.waitpid(server.pid, 0)


def _choose_model(home: Path, stack: ExitStack, screen: Screen) -> tuple[str, dict[str, str]]:
    """The model's reference, and what workers need in their environment to reach it."""
    if os.environ.get("OPENAI_API_KEY", "").strip():
        name = os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
        model = name if "/" in name else f"openai/{name}"
        screen.line(f"OPENAI_API_KEY is set: {model} answers.")
        return model, {}
    screen.line("No OPENAI_API_KEY: a rehearsed model answers, over real HTTP.")
    port_file = home / "port"
    arguments = ["-m", "evented_agent.cli.demo.rehearsed", str(port_file)]
    child = DemoProcess("model", arguments, home=home, env={})
    stack.callback(child.kill)
    wait_for("the rehearsed model listens", port_file.exists, [child], seconds=START)
    # A proxy would not find this machine's loopback.
    direct = ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1"]))
    return "openai-chat/rehearsed", {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port_file.read_text()}/v1",
        "OPENAI_API_KEY": "rehearsed",
        "no_proxy": direct,
        "NO_PROXY": direct,
    }


def _start_workers(
    home: Path, stack: ExitStack, env: Mapping[str, str], model: str
) -> list[DemoProcess]:
    workers: list[DemoProcess] = []
    stack.callback(_stop_all, workers)
    for name in WORKERS:
        arguments = [
            *("-m", "celery", "-A", "evented_agent.cli.demo.app", "worker", "-n", f"{name}@demo"),
            *("-P", "threads", "-c", "8", "-Q", "agents", "--loglevel", "INFO"),
            *("--without-gossip", "--without-mingle"),
        ]
        workers.append(DemoProcess(name, arguments, home=home, env={**env, MODEL_VARIABLE: model}))
    return workers


def _stop_all(workers: list[DemoProcess]) -> None:
    with ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.stop, END)
            worker.terminate()


def _demo(stage: Stage, screen: Screen, *, kill: bool) -> int:
    screen.line()
    screen.line(f"  you: {REQUEST}", "bold")
    run = stage.librarian.stream(
        REQUEST,
        context={"directory": str(stage.directory), "calls": str(stage.calls)},
        until_idle=60,
    )
    follower = StoryFollower(stage.librarian, stage.workers, screen, kill=kill)
    try:
        story = follower.follow(run.run_id)
        checks = _checks(stage, story, run.run_id, kill=kill)
    except TimeoutError as error:
        raise DemoFailed(f"{error}\n{logs_of(stage.workers)}") from None
    screen.line()
    screen.line("Afterwards:", "bold")
    for check in checks:
        screen.line(f"  {'✓' if check.holds else '✗'} {check.says}", _style(check))
    return 0 if all(check.holds for check in checks) else 1


def _checks(stage: Stage, story: Story, run_id: str, *, kill: bool) -> list[Check]:
    result = stage.librarian.observe(run_id).result(timeout=30)
    checks = [
        check_text(story, stage.librarian, result),
        check_calls(result, stage.calls),
        check_files(result, stage.before, stage.directory),
        check_index(result, stage.calls),
    ]
    return [*checks, check_recovery(story)] if kill else checks


def _style(check: Check) -> str:
    return "green" if check.holds else "red"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first Ctrl-C, SIGTERM or hang-up into one `KeyboardInterrupt`, and only the first.

    A second one would interrupt the cleaning up.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(*_: object) -> NoReturn:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    try:
        before = {number: signal.signal(number, interrupt) for number in numbers}
    except ValueError:  # Not the main thread, which alone may do this.
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
