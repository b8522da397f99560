"""``server``: the embedded server of this project, looked at, started and stopped."""

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.output import to_json
from evented_agent.ledger.embedded_server import (
    EmbeddedServer,
    ensure_server,
    find_server,
    no_server,
    stop_server,
)


@click.group("server", invoke_without_command=True)
@click.pass_context
def server(ctx: click.Context) -> None:
    """Show, start or stop the embedded server of this project."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show_server)


@server.command("show")
@shared
def show_server(choices: Choices) -> None:
    """Show where it listens and keeps its data; exits with 1 where none runs."""
    found = find_server()
    if found is None:
        choices.output.warn(no_server())
        raise click.exceptions.Exit(1)
    _print(choices, found)


@server.command("start")
@shared
def start_server(choices: Choices) -> None:
    """Start it, unless it runs; it outlives this command."""
    _print(choices, ensure_server())


@server.command("stop")
@shared
def halt_server(choices: Choices) -> None:
    """Stop it; its data stays, and the next start has it again."""
    choices.output.note("Stopped; its data stays." if stop_server() else no_server())


def _print(choices: Choices, found: EmbeddedServer) -> None:
    if choices.output.is_json:
        choices.output.record(to_json(found) | {"directory": str(found.directory)})
        return
    choices.output.pairs(
        [
            ("redis", found.url),
            ("broker", found.broker_url),
            ("data", found.directory),
            ("pid", found.pid),
        ]
    )
