"""Logs of a worker as JSON, where that was asked for and nobody has chosen another form."""

import logging
import os
from typing import Any

from celery.app import defaults
from celery.app.log import TaskFormatter
from celery.utils.log import ColorFormatter

from evented_agent.logs import JsonFormatter, logger_of

logger = logger_of(__name__)

#: "json" or "text"; comes before ``app.conf.evented_agent_log_format``.
LOG_FORMAT_VARIABLE = "EVENTED_AGENT_LOG_FORMAT"
_CELERYS = {
    ColorFormatter: vars(defaults)["DEFAULT_PROCESS_LOG_FMT"],
    TaskFormatter: vars(defaults)["DEFAULT_TASK_LOG_FMT"],
}


def wants_json_logs(app: Any) -> bool:
    """Whether a worker of *app* is to write its log as JSON."""
    chosen = os.environ.get(LOG_FORMAT_VARIABLE) or app.conf.get("evented_agent_log_format")
    return str(chosen or "").lower() == "json"


def write_json(to: logging.Logger) -> None:
    """Let the handlers that Celery has made for *to* write JSON.

    A handler with a format of the user's, by ``worker_log_format`` or in code, is left as it is.
    """
    for handler in to.handlers:
        if _is_celerys_own(handler.formatter):
            handler.setFormatter(JsonFormatter())
        elif not isinstance(handler.formatter, JsonFormatter):
            logger.warning(
                "This log has a format of its own and is not written as JSON: %r. Leave out "
                "worker_log_format and worker_task_log_format, or use evented_agent.logs."
                "JsonFormatter where it is set up.",
                getattr(handler.formatter, "_fmt", handler.formatter),
            )


def _is_celerys_own(formatter: logging.Formatter | None) -> bool:
    default = _CELERYS.get(type(formatter))  # type: ignore[arg-type]
    return default is not None and getattr(formatter, "_fmt", None) == default
