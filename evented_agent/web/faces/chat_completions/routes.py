"""`POST /chat/completions`: a run without a conversation, given all that was said before."""

import uuid
from collections.abc import Mapping
from typing import Any

from evented_agent.chunks.base import one_line_json
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.state.run_info import RunInfo
from evented_agent.web.access import somebody, with_scope
from evented_agent.web.exchange import (
    Exchange,
    LateReply,
    PlainReply,
    WebReply,
    object_reply,
)
from evented_agent.web.faces.chat_completions.translator import (
    Completion,
    CompletionFacts,
    CompletionStream,
    WholeCompletion,
    error_of,
)
from evented_agent.web.faces.legs import Leg
from evented_agent.web.faces.openai.errors import NO_RETRY, wrong_field
from evented_agent.web.faces.openai.fields import (
    OPTIONS,
    FieldReader,
    Fields,
    agent_of,
    fields_of,
    once,
    roles_of,
)
from evented_agent.web.faces.openai.waiting import LegWait, counted_as
from evented_agent.web.faces.replies import LegRequest, follow_leg
from evented_agent.web.faces.responses.items import parse_message
from evented_agent.web.names import run_id_for
from evented_agent.web.principal import Principal
from evented_agent.web.routes.look import resource_of
from evented_agent.web.routes.start import NewRunRequest, begin_run
from evented_agent.web.site import Site, Verb, WebSteps

_COMPLETION_OPTIONS: Mapping[str, str] = {
    **OPTIONS,
    **dict.fromkeys(
        (
            *("frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens"),
            *("presence_penalty", "reasoning_effort", "seed", "stop", "verbosity"),
        ),
        "model_settings",
    ),
}
#: How a completion that there is none of is answered, by the type of its error.
_STATUSES = {"run_suspended": 400, "run_aborted": 400, "run_goes_on": 503}


def post_completion(site: Site, exchange: Exchange) -> WebSteps[WebReply]:
    """Start a run with these messages, and answer with what it says."""
    fields = fields_of(exchange)
    messages = _messages(fields)
    agent = agent_of(site, fields)
    who = yield from somebody(exchange, "start", agent=agent)
    with_scope(who, "read")
    reader = FieldReader(site, who, fields)
    stream, has_usage = reader.flag("stream"), _has_usage(reader)
    metadata = reader.metadata()
    options = {
        **reader.options(_COMPLETION_OPTIONS),
        **({"metadata": metadata} if metadata else {}),
    }
    key = exchange.request.headers.get("idempotency-key")
    run_id = run_id_for(who, None, key) or uuid.uuid4().hex
    whose, roles = resource_of(exchange, who), roles_of(site, who, messages, "messages")
    request = NewRunRequest(agent, messages, run_id, None, whose, options, roles)
    site.streams.check(counted_as(who))
    with once(key):
        run = yield from begin_run(site, who, request)
        info: RunInfo = yield Verb("get", (run_id,))
    facts = CompletionFacts(run_id, agent, int(info.created_at.timestamp()), has_usage)
    if not stream:
        return _waited_for(who, run, facts, has_key=key is not None)
    headers = {"x-run-id": run_id}
    leg = LegRequest(
        Leg(run_id), CompletionStream(facts), frame_of, headers=headers, is_last=is_error
    )
    return (yield from follow_leg(site, who, leg, run))


def _waited_for(
    who: Principal,
    run: RunStream[Any] | AsyncRunStream[Any],
    facts: CompletionFacts,
    *,
    has_key: bool,
) -> LateReply:
    """The completion once the run has ended; an error where nobody waits so long."""
    message = f"The run {facts.run_id} goes on; nobody waits for it here any more."
    instead = _reply(error_of(facts, "run_goes_on", message), facts, has_key=has_key)
    waiting = LegWait(
        run,
        Leg(facts.run_id),
        lambda: WholeCompletion(facts),
        lambda completion: _reply(completion, facts, has_key=has_key),
        instead,
    )
    return LateReply(waiting, instead, counted_as(who))


def _has_usage(reader: FieldReader) -> bool:
    options = reader.take("stream_options", dict, "an object") or {}
    return bool(options.get("include_usage"))


def _messages(fields: Fields) -> list[dict[str, Any]]:
    given = fields.pop("messages", None)
    if not isinstance(given, list) or not given:
        raise wrong_field("messages", "pass a list of messages.")
    messages = [parse_message(each, f"messages[{at}]") for at, each in enumerate(given)]
    if messages[-1]["role"] != "user":
        raise wrong_field(f"messages[{len(given) - 1}].role", "the last message is a user's.")
    return messages


def frame_of(completion: Completion | str) -> str:
    """An event as OpenAI's clients read it."""
    if isinstance(completion, str):
        return f"data: {completion}\n\n"
    return f"data: {one_line_json(completion)}\n\n"


def is_error(completion: Completion | str) -> bool:
    """Whether an event says that there is no completion, or none any more."""
    return not isinstance(completion, str) and "error" in completion


def _reply(completion: Completion, facts: CompletionFacts, *, has_key: bool) -> PlainReply:
    """A completion, or an error; a client that repeats the request without a key starts another."""
    headers = {"x-run-id": facts.run_id}
    error = completion.get("error")
    if error is None:
        return object_reply(completion, 200, headers)
    may_retry = {} if has_key and error["type"] == "run_goes_on" else NO_RETRY
    return object_reply(completion, _STATUSES.get(error["type"], 500), {**headers, **may_retry})
