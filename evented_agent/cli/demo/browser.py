"""How the demo's run is looked at in a browser, while it goes on and after it."""

import shlex
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from evented_agent import Runs
from evented_agent.cli.console import open_site
from evented_agent.cli.demo.screen import Screen
from evented_agent.ledger.address import repeatable_url

_PROGRAM = "evented-agent"


def console_command(redis_url: str) -> str:
    """The command line that shows the run in the console, in another terminal, while it goes on."""
    program = shutil.which(_PROGRAM)
    if program is None:
        beside = Path(sys.executable).with_name(_PROGRAM)
        near = beside.is_relative_to(Path.cwd())
        program = str(beside.relative_to(Path.cwd()) if near else beside)
    else:
        program = _PROGRAM
    return shlex.join([program, "console", "--redis", repeatable_url(redis_url)])


def show_console(runs: Runs, stack: ExitStack, screen: Screen) -> Callable[[], None]:
    """Serve the console until *stack* ends; returns what waits until somebody interrupts."""
    site = open_site(runs)
    serving = threading.Thread(target=site.serve, name="console", daemon=True)
    serving.start()
    stack.callback(site.close)
    screen.line(f"  browser  {site.address}", "cyan")

    def wait() -> None:
        screen.line()
        screen.line("The console shows the run until you press Ctrl-C.", "bold")
        serving.join()

    return wait
