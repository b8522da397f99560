"""Which run a log record is about: fields of every record of ours, and of yours if you ask.

Imports no other module.
"""

import logging
from contextvars import ContextVar
from dataclasses import dataclass

#: What a record of ours always has.
FIELDS = ("run_id", "task", "agent", "attempt")


@dataclass(frozen=True, slots=True)
class CurrentWork:
    """What this context works on: an attempt of a task of a run."""

    run_id: str
    task: str
    agent: str
    attempt: int


_work: ContextVar[CurrentWork | None] = ContextVar("evented_agent_work", default=None)


class RunFields(logging.Filter):
    """Gives records the fields run_id, task, agent and attempt; *missing* where none is worked on.

    Put it on handlers, then lines that a tool or a hook logs have them as well. Workers do that by
    themselves; elsewhere it costs nothing. A field that a record has already is left as it is.

    Example:
        >>> handler = logging.StreamHandler()
        >>> handler.addFilter(RunFields())
        >>> handler.setFormatter(logging.Formatter("%(levelname)s %(run_id)s %(message)s"))
    """

    def __init__(self, missing: object = "-") -> None:
        super().__init__()
        self._missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
        work = _work.get()
        known = vars(record)
        for name in FIELDS:
            if name not in known:
                known[name] = self._missing if work is None else getattr(work, name)
        return True


def logger_of(module: str) -> logging.Logger:
    """The logger of one of our modules: its records have the fields wherever they go."""
    logger = logging.getLogger(module)
    if not any(isinstance(found, RunFields) for found in logger.filters):
        logger.addFilter(RunFields())
    return logger


def add_run_fields(logger: logging.Logger) -> None:
    """Let all that reaches the handlers of *logger* have the fields."""
    for handler in logger.handlers:
        if not any(isinstance(found, RunFields) for found in handler.filters):
            handler.addFilter(RunFields())


def begin_work(run_id: str, task: str, agent: str, attempt: int) -> None:
    """Say what the current context works on from now on."""
    _work.set(CurrentWork(run_id, task, agent, attempt))


def current_work() -> CurrentWork | None:
    """What the current context works on; None outside of attempts."""
    return _work.get()
