"""``mcp``: the app's agents as tools of the Model Context Protocol, over stdin and stdout."""

import asyncio
import importlib
from typing import Any

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.errors import ConfigurationError

#: What imports the SDK and the web extra.
_STDIO = "evented_agent.web.faces.mcp.stdio"


@click.command("mcp")
@click.option("--resource", metavar="ID", help="Whose runs; without, those of everybody.")
@shared
def serve_agents(choices: Choices, resource: str | None) -> None:
    """Serve the app's agents as MCP tools, to the program that started this.

    Speaks over stdin and stdout, and ends with its input; runs go on.
    """
    choices.needed_app()
    try:
        stdio: Any = importlib.import_module(_STDIO)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"This needs two extras: pip install 'evented-agent[web,mcp]' ({error})."
        ) from None
    asyncio.run(stdio.serve_stdio(choices.runs(), resource))
