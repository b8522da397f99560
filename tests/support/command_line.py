"""Runs commands in this process, with what goes to stderr apart."""

import inspect
from typing import Any

from click.testing import CliRunner


def cli_runner() -> CliRunner:
    """A runner of click's; before click 8.2 it mixes the two streams unless it is told not to."""
    known = inspect.signature(CliRunner).parameters
    options: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in known else {}
    return CliRunner(**options)
