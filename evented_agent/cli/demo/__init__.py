"""The demo: an agent tidies a folder, and the worker that runs it is killed in mid-answer.

Everything that it starts is its own, and ends with it.
"""

from evented_agent.cli.demo.run import run_demo

__all__ = ["run_demo"]
