"""``console``: pages that show runs, on this machine alone."""

import errno
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.client.runs import Runs
from evented_agent.errors import ConfigurationError

if TYPE_CHECKING:
    from evented_agent.cli.local_site import LocalSite

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: Tried first; cookies and bookmarks stay good where it is free.
_PORT = 8765


@click.command("console")
@click.option("--host", default=_LOOPBACK[0], show_default=True, help="Another needs --authorize.")
@click.option("--port", type=click.IntRange(0, 65_535), help=f"By default {_PORT}, or a free one.")
@click.option("--authorize", metavar="MODULE:NAME", help="Says who asks, as for create_app.")
@click.option("--flower", metavar="URL", help="Where Flower is; tasks are linked to it.")
@shared
def console(
    choices: Choices, host: str, port: int | None, authorize: str | None, flower: str | None
) -> None:
    """Show runs, decisions, conversations and workers in a browser.

    Without --authorize it serves this machine alone, to who opens the address that it prints.
    """
    if authorize is None and host not in _LOOPBACK:
        raise click.UsageError(
            f"--host {host} is reached by others: say who may do what with --authorize "
            "MODULE:NAME, or mount create_app in your own application."
        )
    site = open_site(
        _place(choices),
        host=host,
        port=port,
        authorize=None if authorize is None else _named(authorize),
        flower_url=flower,
    )
    output = choices.output
    if output.is_json:
        output.record({"url": site.address})
    else:
        output.line(site.address)
    if authorize is None:
        output.note("The address works once, in one browser of this machine. Ctrl-C ends it.")
    site.serve()


def open_site(runs: Runs, *, port: int | None = None, **options: Any) -> "LocalSite":
    """The site of *runs*, on the port that is asked for, else on the usual one or a free one."""
    try:
        from evented_agent.cli.local_site import LocalSite
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    if port is not None:
        return _listening(LocalSite, runs, port, options)
    try:
        return LocalSite(runs, port=_PORT, **options)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigurationError(f"The console cannot listen: {error}.") from None
    return _listening(LocalSite, runs, 0, options)


def _listening(make: Any, runs: Runs, port: int, options: dict[str, Any]) -> "LocalSite":
    try:
        site: LocalSite = make(runs, port=port, **options)
    except OSError as error:
        raise ConfigurationError(f"The console cannot listen on port {port}: {error}.") from None
    return site


def _place(choices: Choices) -> Runs:
    """Where there are runs: in-process agents keep theirs under a prefix each."""
    places = choices.places.all
    used = [place for place in places if place.list(limit=1)] if len(places) > 1 else []
    chosen = (used or list(places))[0]
    others = [place.settings.prefix for place in used if place is not chosen]
    if others:
        choices.output.note(
            f"Shown are the runs under {chosen.settings.prefix!r}; for others add --prefix "
            f"{' or --prefix '.join(others)}."
        )
    return chosen


def _named(reference: str) -> Any:
    """The function that ``module:name`` names."""
    module, _, name = reference.partition(":")
    if not name:
        raise click.UsageError(f"--authorize {reference}: use MODULE:NAME.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"--authorize {reference}: {error}.") from None
