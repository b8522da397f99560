"""What `stream` does, for an agent and for all of a deployment: start a run, return its stream."""

from typing import Any

from evented_agent.agents.agent import Agent
from evented_agent.agents.generics import Out
from evented_agent.agents.run_options import StreamOptions
from evented_agent.client.deployment import Deployment
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.start import start_run
from evented_agent.models.messages import Input


def begin_stream(
    at: Deployment, agent: Agent[Any, Out], given: Input, options: StreamOptions
) -> RunStream[Out]:
    """Create the run and return its stream, which has read nothing yet."""
    run_id = at.drive("stream", start_run(at, agent, given, options))
    return RunStream(at, run_id, close_on_suspend=options.get("close_on_suspend", True))


async def abegin_stream(
    at: Deployment, agent: Agent[Any, Out], given: Input, options: StreamOptions
) -> AsyncRunStream[Out]:
    """`begin_stream` for the running event loop."""
    run_id = await at.adrive(start_run(at, agent, given, options))
    return AsyncRunStream(at, run_id, close_on_suspend=options.get("close_on_suspend", True))
