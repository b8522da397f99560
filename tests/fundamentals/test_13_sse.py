"""Server-sent events: a run as the body of a response, which a browser resumes by itself."""

import json

from evented_agent import Agent
from evented_agent.testing import ScriptedModel
from tests.fundamentals.conftest import Serve

speaker = Agent(id="broadcaster", model=ScriptedModel(["On the air."]))


def ids(events: list[str]) -> list[str]:
    return [line for event in events for line in event.splitlines() if line.startswith("id:")]


def test_a_run_is_a_body_of_server_sent_events(serve: Serve) -> None:
    """`sse` gives one event a chunk: its cursor as id, its type, and its JSON."""
    events = list(serve(speaker).stream("Talk.").sse())
    [data] = [line for line in events[-1].splitlines() if line.startswith("data:")]

    assert json.loads(data.removeprefix("data:"))["type"] == "finish"


def test_the_last_event_id_is_where_a_browser_goes_on(serve: Serve) -> None:
    """An `EventSource` sends the id of the last event it saw; `after` takes it as it comes."""
    durable = serve(speaker)
    run = durable.stream("Talk.")
    events = list(run.sse())
    last_event_id = ids(events)[2].removeprefix("id:").strip()

    assert list(durable.observe(run.run_id, after=last_event_id).sse()) == events[3:]
