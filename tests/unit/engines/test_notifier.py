"""Messages as Flower and its metrics show them."""

from typing import Any

import pytest
from celery import Celery

from evented_agent import Agent, tool
from evented_agent.engines.celery.notifier import CeleryNotifier
from evented_agent.ledger.records import Due, TaskKind
from evented_agent.testing import ScriptedModel


@tool
def add(a: int) -> int:
    """Add."""
    return a


@pytest.mark.parametrize(
    ("kind", "agent", "tool_name", "shown"),
    [
        ("tool", "known", "add", "tool[add]"),
        ("tool", "known", "invented_4711", "tool[?]"),
        ("tool", "known", "x\n\x1b[31m" * 1000, "tool[?]"),
        ("tool", "known", None, "tool[?]"),
        ("tool", "elsewhere", "add", "tool[?]"),
        ("model", "known", None, "model[known]"),
    ],
)
def test_only_tools_that_exist_have_a_label(
    kind: TaskKind, agent: str, tool_name: str | None, shown: str
) -> None:
    app = Celery("labels", broker="memory://", set_as_current=False)
    known = Agent(id="known", model=ScriptedModel(["Hi."]), tools=[add])
    notifier = CeleryNotifier(app, {"known": known})

    assert notifier.notify([Due("r", "1:tool:c", 1, kind, tool_name, "labels", agent)])

    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("labels")
        message: Any = queue.get(timeout=5)
        message.ack()
        queue.close()
    assert message.headers["shadow"] == shown
