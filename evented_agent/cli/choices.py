"""Options of every command: where the runs are, and how to print."""

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from evented_agent.cli.output import Printer
from evented_agent.cli.places import Places, places_at
from evented_agent.client.deployment import REDIS_URL_VARIABLE
from evented_agent.client.runs import Runs
from evented_agent.engines.celery.app_checks import load_app, load_modules
from evented_agent.ledger.address import repeatable_url
from evented_agent.state.run_info import MODULE, worker_command

_P = ParamSpec("_P")
_R = TypeVar("_R")

_META = "evented_agent.cli"


@dataclass
class Choices:
    """What was chosen anywhere on the command line, before or after a command's name."""

    app: str | None = None
    celery_app: Any = None
    redis: str | None = None
    prefix: str | None = None
    is_json: bool = False
    is_quiet: bool = False
    is_plain: bool = False
    program: str = "evented-agent"

    @functools.cached_property
    def output(self) -> Printer:
        return Printer(is_json=self.is_json, is_quiet=self.is_quiet, is_plain=self.is_plain)

    @functools.cached_property
    def loaded_app(self) -> Any:
        """The Celery app with all that its worker would load, or None where none was given."""
        if self.celery_app is None:
            return None if self.app is None else load_app(self.app)
        load_modules(self.celery_app, self.app)
        return self.celery_app

    def needed_app(self) -> Any:
        """The Celery app; a usage error where none was given."""
        if self.loaded_app is None:
            raise click.UsageError("Give the module that holds your Celery app: -A MODULE.")
        return self.loaded_app

    @functools.cached_property
    def places(self) -> Places:
        """The runs of the app; without one, those at the Redis URL, with no agent code."""
        if self.app is None and self.celery_app is None:
            return places_at(self.redis, self.prefix)
        if self.redis is not None or self.prefix is not None:
            raise click.UsageError("The app given by -A says where its runs are: leave out either.")
        return Places([Runs.of(self.loaded_app)])

    def runs(self) -> Runs:
        """The runs of the app; without one, those under the first prefix at the Redis URL."""
        return self.places.first

    @property
    def start_worker(self) -> str:
        """The command that starts a worker, to show to people."""
        return worker_command(self.app or MODULE)

    def pasted(self, text: str) -> str:
        """*text* with the commands in it as they can be pasted, where the app is known."""
        return text if self.app is None else text.replace(f"-A {MODULE}", f"-A {self.app}")

    def again(self, *arguments: str) -> str:
        """A command line for the same runs, to show to people."""
        words = [*self.program.split(" ")]
        if self.app is not None and self.celery_app is None:
            words += ["-A", self.app]
        if self.redis is not None:
            words += ["--redis", repeatable_url(self.redis)]
        if self.prefix is not None:
            words += ["--prefix", self.prefix]
        return shlex.join([*words, *arguments])


def choices_of(ctx: click.Context) -> Choices:
    """What was chosen so far, for all commands of this invocation."""
    found: Choices = ctx.meta.setdefault(_META, Choices())
    return found


def shared(function: Callable[Concatenate[Choices, _P], _R]) -> Callable[_P, _R]:
    """Give a command the options that all have, and its function the `Choices`."""

    @functools.wraps(function)
    def invoke(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return function(choices_of(click.get_current_context()), *args, **kwargs)

    for option in reversed(_OPTIONS):
        option(invoke)
    return invoke


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value and param.name is not None:
        choices = choices_of(ctx)
        setattr(choices, param.name, value)
        if param.name == "app":
            choices.celery_app = None


def _option(*names: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, expose_value=False, callback=_keep, **attributes)


_OPTIONS = (
    _option("-A", "--app", metavar="MODULE", help="The Celery app, as for celery -A."),
    _option("--redis", metavar="URL", help=f"Without -A: Redis; else ${REDIS_URL_VARIABLE}."),
    _option("--prefix", metavar="PREFIX", help="Without -A: what keys begin with, if not 'ea'."),
    _option("--json", "is_json", is_flag=True, help="One JSON object a line, on stdout."),
    _option("-q", "--quiet", "is_quiet", is_flag=True, help="No notes on stderr."),
)
