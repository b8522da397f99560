"""Agents as the models of OpenAI's clients."""

from typing import Any

from evented_agent.web.access import somebody
from evented_agent.web.exchange import Exchange, PlainReply, object_reply
from evented_agent.web.failures import HttpFailure
from evented_agent.web.site import Site, WebSteps


def get_models(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The agents that they may start."""
    refused: HttpFailure | None = None
    found = []
    for agent in _agents(site):
        try:
            yield from somebody(exchange, "start", agent=agent)
            found.append(_model(agent))
        except HttpFailure as failure:
            refused = failure
    if refused is not None and not found:
        raise refused
    return object_reply({"object": "list", "data": found})


def get_model(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """One agent."""
    agent = exchange.path["id"]
    yield from somebody(exchange, "start", agent=agent)
    if agent not in _agents(site):
        raise HttpFailure(404, "unknown_agent", "There is no such agent.")
    return object_reply(_model(agent))


def _agents(site: Site) -> list[str]:
    return sorted(agent for agent in site.runs.agents if site.agent in (None, agent))


def _model(agent: str) -> dict[str, Any]:
    return {"id": agent, "object": "model", "created": 0, "owned_by": "evented-agent"}
