"""What somebody says in a conversation: it begins a run, or is sent to the one that there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.client.owner import MOST_LABEL
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo
from evented_agent.web.faces.legs import Leg
from evented_agent.web.principal import Principal
from evented_agent.web.routes.start import (
    NewRunRequest,
    begin_run,
    check_live_runs,
    check_start,
)
from evented_agent.web.site import Site, Verb, WebSteps

#: How many runs of a conversation are looked at for those that are under way.
_LATEST = 20


@dataclass(frozen=True, slots=True)
class Said:
    """Where it went.

    Attributes:
        leg: The leg that answers it.
        run: What reads that run, from its first chunk on.
    """

    leg: Leg
    run: RunStream[Any] | AsyncRunStream[Any]


def say(
    site: Site, who: Principal, request: NewRunRequest, *, interrupt: bool = False
) -> WebSteps[Said]:
    """Begin a run with an input, or send it to the run that has the turn in its conversation.

    `when_busy` and `when_waiting` among the options say which; with *interrupt* it is sent and cuts
    short what the model says. The request names the run, and with it the message, so that the same
    request again is the same. Raises what `begin_run` raises.
    """
    assert request.run_id is not None
    if interrupt and (yield from _has_run(request)):
        return (yield from _interrupt(site, who, request))
    run = yield from begin_run(site, who, request)
    if run.run_id == request.run_id:
        return Said(Leg(run.run_id), run)
    # It reads from the message on; a leg is told from the start of the run.
    number, run.cursor = int(run.cursor) + 1, 0
    return Said(Leg(run.run_id, number), run)


def _has_run(request: NewRunRequest) -> WebSteps[bool]:
    """Whether the conversation has a run of that agent that is not this very one."""
    if request.thread_id is None:
        return False
    named = {"thread_id": request.thread_id, "resource_id": request.resource_id, "limit": _LATEST}
    runs: Sequence[RunInfo] = yield Verb("list", (), named)
    same = [each for each in runs if each.resource_id == request.resource_id]
    is_new = all(each.run_id != request.run_id for each in same)
    return is_new and bool(same) and same[0].agent == request.agent


def _interrupt(site: Site, who: Principal, request: NewRunRequest) -> WebSteps[Said]:
    check_start(site, who, request)
    yield from check_live_runs(site, who, request.run_id)
    sent: Receipt = yield Verb(
        "send",
        (None, request.input),
        {
            "thread_id": request.thread_id,
            "message_id": request.run_id,
            "resource_id": request.resource_id,
            "interrupt": True,
            "by": who.name[:MOST_LABEL] or None,
        },
    )
    run = yield Verb("observe", (sent.run_id,), {"close_on_suspend": True})
    return Said(Leg(sent.run_id, sent.number), run)
