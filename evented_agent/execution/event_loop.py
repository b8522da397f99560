"""The event loop that all attempts of a process share; no exception of user code stops it."""

import asyncio

from evented_agent.logs import logger_of

logger = logger_of(__name__)


def run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run *loop* in this thread until it is stopped.

    A `SystemExit` or `KeyboardInterrupt` in a task that a tool started comes out of asyncio's loop;
    it is logged, and the loop continues for all other runs.
    """
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            logger.exception("Code on the event loop tried to exit the process; continuing")
        else:
            return
