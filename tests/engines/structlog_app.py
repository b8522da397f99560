"""An application that logs with structlog, as its documentation says for Celery."""

import logging
from typing import Any

import structlog
from celery import signals

from evented_agent.logs import RunFields
from tests.engines.shop import clerk
from tests.support.deployment import make_app, serve

app = make_app("tests.engines.structlog_app")
app.conf.evented_agent_log_format = "json"
evented = serve(app, clerk)


@signals.setup_logging.connect
def set_up_logging(**_: Any) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(RunFields())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=["run_id", "agent"])],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.LogfmtRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel("INFO")
