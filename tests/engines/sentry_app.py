"""An application with Sentry, whose reports go to a file instead of a server."""

import json
import os
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.transport import Transport
from sentry_sdk.types import Event, Hint

from evented_agent.logs import current_work
from tests.support.agents import SHARED
from tests.support.deployment import MARKS, make_app, serve


class ToFile(Transport):
    """Keeps what would be sent."""

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if event := item.get_event():
                with (MARKS / "sentry").open("a") as file:
                    file.write(json.dumps(event, default=str) + "\n")


def name_run(event: Event, _: Hint) -> Event | None:
    if work := current_work():
        event.setdefault("tags", {}).update({"run_id": work.run_id, "agent": work.agent})
    return event


sentry_sdk.init("http://key@127.0.0.1:9/1", transport=ToFile, before_send=name_run)
if "TEST_SENTRY_TWICE" not in os.environ:
    # A failed run is an error of its task as well.
    ignore_logger("evented_agent.execution.executor")
app = make_app("tests.engines.sentry_app")
evented: Any = serve(app, *SHARED)
