"""What this application serves.  Replace the assistant by your own agents."""

import os
from datetime import UTC, datetime

from evented_agent import Agent, create_evented_agent, tool
from tasks.celery import app


@tool
def current_time() -> str:
    """Return the current date and time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


assistant = Agent(
    id="assistant",
    instructions="You are a helpful assistant. Answer briefly.",
    model=os.environ.get("ASSISTANT_MODEL", "openai/gpt-5.5"),
    tools=[current_time],
)

evented_assistant = create_evented_agent(assistant, app=app)
