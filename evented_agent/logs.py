"""Which run a log record is about: fields of every record of ours, and of yours if you ask.

Imports no other module.
"""

import json
import logging
import math
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: What a record of ours always has.
FIELDS = ("run_id", "task", "agent", "attempt")
#: What it has as well; empty where no span is open.
TRACE_FIELDS = ("trace_id", "span_id")
_NAMED = frozenset({*FIELDS, *TRACE_FIELDS})
#: What is not somebody's ``extra=``.
_USUAL = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", *_NAMED})


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

    Also trace_id and span_id, in hexadecimal, of OpenTelemetry's current span. Put it on handlers,
    then lines that a tool or a hook logs have them as well. Workers do that by themselves;
    elsewhere it costs nothing. A field that a record has already is left as it is.

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
        if "trace_id" not in known:
            for name, id_ in zip(TRACE_FIELDS, _current_span(), strict=True):
                known[name] = id_ or self._missing
        known.setdefault("span_id", self._missing)
        return True


class JsonFormatter(logging.Formatter):
    """Writes each record as one line of JSON.

    ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``message``; ``run_id``, ``task_key``,
    ``agent`` and ``attempt`` where a run is worked on, ``trace_id`` and ``span_id`` where a span is
    open, ``exception`` where there is one. What was passed as ``extra=`` follows under its own
    names: texts, numbers, true and false.

    Example:
        >>> handler = logging.StreamHandler()
        >>> handler.setFormatter(JsonFormatter())
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of *record*, without its end."""
        made: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat("T", "milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        about = _about(record)
        if record.exc_info:
            about["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            about["stack"] = self.formatStack(record.stack_info)
        more = {
            name: value
            for name, value in vars(record).items()
            if name not in _USUAL and _is_plain(value)
        }
        # In ASCII: whatever reads it may be told of characters that no encoding has.
        return json.dumps({**more, **made, **about})


def _current_span() -> tuple[str, str]:
    """Ids of OpenTelemetry's current span, empty without one."""
    # Where nobody has imported it, there is no span.
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is None:
        return "", ""
    context = tracing.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _about(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of `RunFields`, where they say something; the handler may have no such filter."""
    given = vars(record).items()
    # What is somebody's own under one of these names may be no text.
    kept = {name: value for name, value in given if name not in _NAMED or _is_plain(value)}
    marked = logging.makeLogRecord(kept)
    RunFields(missing=None).filter(marked)
    values = {name: vars(marked)[name] for name in (*FIELDS, *TRACE_FIELDS)}
    return {
        "task_key" if name == "task" else name: value
        for name, value in values.items()
        if value not in (None, "-")
    }


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
