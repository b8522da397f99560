"""Fixtures for pytest: ``pytest_plugins = ["evented_agent.testing.fixtures"]`` in conftest.py."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evented_agent.agents.agent import Agent
from evented_agent.engines.in_process import InProcessAgent, create_durable_agent
from evented_agent.ledger.embedded_server import ensure_server, stop_server
from evented_agent.testing.divert import divert_agents
from evented_agent.testing.scripted import block_real_models


@pytest.fixture(scope="session")
def embedded_redis_url() -> Iterator[str]:
    """The URL of an embedded server of this session; it needs the extra ``local``."""
    with tempfile.TemporaryDirectory(prefix="evented-agent-") as folder:
        yield ensure_server(Path(folder)).url
        stop_server(Path(folder))


@pytest.fixture
def diverted_agents(embedded_redis_url: str) -> Iterator[str]:
    """Divert every evented agent of the application to the embedded server, and block real models.

    Runs are executed in the test's process and forgotten after the test. Used by all tests of a
    suite, nothing of it can reach a real server or a real model:

    Example:
        >>> @pytest.fixture(autouse=True)
        ... def agents_are_tested(diverted_agents): ...
    """
    with divert_agents(embedded_redis_url) as url:
        yield url


@pytest.fixture
def serve(embedded_redis_url: str) -> Iterator[Callable[[Agent], InProcessAgent]]:
    """Serve agents in this process, durably, while real models are blocked.

    Example:
        >>> def test_the_clerk_answers(serve):
        ...     with clerk.override(model=ScriptedModel(["Shipped."])):
        ...         assert serve(clerk).generate("Where is it?").text == "Shipped."
    """
    served: list[InProcessAgent] = []

    def start(agent: Agent) -> InProcessAgent:
        durable = create_durable_agent(agent, redis_url=embedded_redis_url)
        served.append(durable)
        return durable

    with block_real_models():
        yield start
    for durable in served:
        durable.close()
