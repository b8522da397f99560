"""How a leg is answered with: as a stream, as it is now, or once it has ended."""

from typing import Any

from evented_agent.chunks.base import one_line_json
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.state.run_info import RunInfo
from evented_agent.web.exchange import EventReply, LateReply, PlainReply, object_reply
from evented_agent.web.faces.legs import Leg
from evented_agent.web.faces.openai.waiting import LegWait, counted_as
from evented_agent.web.faces.replies import LegRequest, ReadLog, follow_leg
from evented_agent.web.faces.responses.history import RunResponses
from evented_agent.web.faces.responses.objects import Json, LegOutcome, RunFacts, response_object
from evented_agent.web.faces.responses.translator import ResponsesTranslator
from evented_agent.web.failures import HttpFailure
from evented_agent.web.principal import Principal
from evented_agent.web.site import Site, WebSteps

AnyRunStream = RunStream[Any] | AsyncRunStream[Any]


def response_frame(event: Json) -> str:
    """An event as OpenAI's clients read it: without an id, which would disturb their comments."""
    return f"event: {event['type']}\ndata: {one_line_json(event)}\n\n"


def leg_request(facts: RunFacts, leg: Leg, skip: int = 0) -> LegRequest[Json]:
    return LegRequest(leg, ResponsesTranslator(facts), response_frame, skip)


def streamed(
    site: Site, who: Principal, run: AnyRunStream, facts: RunFacts, leg: Leg
) -> WebSteps[EventReply]:
    """All events of a leg."""
    return follow_leg(site, who, leg_request(facts, leg), run)


def waited_for(who: Principal, run: AnyRunStream, facts: RunFacts, leg: Leg) -> LateReply:
    """The response once the leg has ended; the one that goes on, where nobody waits so long."""
    waiting = LegWait(
        run,
        leg,
        lambda: ResponsesTranslator(facts),
        lambda event: object_reply(event["response"]),
        object_reply(bare_response(facts, leg, "in_progress")),
    )
    return LateReply(waiting, waiting.instead, counted_as(who))


def bare_response(facts: RunFacts, leg: Leg, status: str) -> Json:
    """A response of which nothing else is known."""
    return response_object(facts, leg.id, facts.previous, LegOutcome(status), [])


def read_responses(info: RunInfo) -> WebSteps[RunResponses]:
    """The responses of a run up to where it is now."""
    return RunResponses(info, (yield ReadLog(info)))


def shown_response(found: RunResponses, leg: Leg) -> PlainReply:
    """A response as it is now."""
    return object_reply(response_of(found, leg))


def response_of(found: RunResponses, leg: Leg) -> Json:
    """Raises `HttpFailure` with 404 where there is none such."""
    response = found.response(leg)
    if response is None:
        raise HttpFailure(404, "response_not_found", "There is no such response.")
    return response
