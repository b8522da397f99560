"""The two groups of commands, and how their errors are shown: one sentence, and an exit code.

0 all is well · 1 a failed run, or a problem · 2 wrong usage · 130 Ctrl-C.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.console import console
from evented_agent.cli.doctor import doctor
from evented_agent.cli.follow import _INTERRUPTED
from evented_agent.cli.mcp import serve_agents
from evented_agent.cli.metrics import metrics
from evented_agent.cli.output import printable
from evented_agent.cli.people import DECISIONS
from evented_agent.cli.runs import runs
from evented_agent.cli.send import send_text
from evented_agent.cli.server import server
from evented_agent.cli.threads import threads
from evented_agent.cli.work import demo, run, worker, workers
from evented_agent.engines.celery.bystander import watch_for_bystanders
from evented_agent.errors import EventedAgentError

#: The exit code of a command whose reader has gone (SIGPIPE).
UNREAD = 141


class _Entry(click.Group):
    """A group that shows this library's errors without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EventedAgentError as error:
            raise click.ClickException(printable(str(error))) from None
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            _stop_printing()
            raise click.exceptions.Exit(UNREAD) from None


@click.group(cls=_Entry, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evented-agent", message="%(version)s")
@shared
def main(_choices: Choices) -> None:
    """Durable LLM agents on Celery and Redis Streams."""


@click.group(cls=_Entry, context_settings={"help_option_names": ["-h", "--help"]})
@shared
def agents(choices: Choices) -> None:
    """Durable agents: their runs, their workers, and what is wrong."""
    ctx = click.get_current_context()
    parent = ctx.parent
    if parent is None or parent.obj is None:
        return
    choices.is_quiet |= parent.obj.quiet
    choices.is_plain |= parent.obj.no_color
    # Without -A Celery hands over some default app, which has no agents.
    given = parent.params.get("app")
    if given and choices.app is None:
        choices.app = str(given)
        choices.celery_app = parent.obj.app
        choices.program = f"{parent.info_name} -A {given} {ctx.info_name}"


def _add(commands: Sequence[click.Command]) -> None:
    for group in (main, agents):
        for command in commands:
            group.add_command(command)


for command in (*DECISIONS, send_text):
    runs.add_command(command)
_add([run, runs, threads, worker, workers, metrics, doctor, demo, server, console, serve_agents])


# Every `celery` command imports this module for `celery agents`: a worker whose app has imported no
# agents has nothing else that could tell.
watch_for_bystanders()


def _stop_printing() -> None:
    """Let the interpreter's last flush go nowhere, quietly."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
