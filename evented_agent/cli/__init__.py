"""The command line: ``evented-agent …``, and ``celery -A APP agents …``."""

from evented_agent.cli.entry import agents, main

__all__ = ["agents", "main"]
