"""The response object: what OpenAI's clients read of a leg.  Pure: does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.chunks import Usage
from evented_agent.state.run_info import RunInfo

Json = dict[str, Any]

#: How this protocol's own metadata of a run are named; a client's have other names.
OWN = "openai."
PREVIOUS = f"{OWN}previous_response_id"
#: How the conversation of a response is named that was put into none.
OWN_THREAD = "resp_"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is the same in all responses of a run.

    Attributes:
        run_id: The run.
        agent: The agent's id.
        created_at: When it was created, in Unix seconds.
        metadata: What the client has given with it.
        previous: The response that the run goes on from.
        conversation: The conversation that the client has put it into.
    """

    run_id: str
    agent: str
    created_at: int
    metadata: Mapping[str, str]
    previous: str | None = None
    conversation: str | None = None


def facts_of(info: RunInfo) -> RunFacts:
    """What the record of a run says for its responses."""
    thread = info.thread_id
    is_own = thread is None or thread.startswith(OWN_THREAD)
    return RunFacts(
        run_id=info.run_id,
        agent=info.agent,
        created_at=int(info.created_at.timestamp()),
        metadata={
            name: value
            for name, value in info.metadata.items()
            if not name.startswith(OWN) and isinstance(value, str)
        },
        previous=info.metadata.get(PREVIOUS),
        conversation=None if is_own else thread,
    )


@dataclass(frozen=True, slots=True)
class LegOutcome:
    """Where a leg is, or how it ended.

    Attributes:
        status: "queued", "in_progress", "completed", "failed", "incomplete" or "cancelled".
        usage: What it used, once it has ended.
        error: Why it failed.
        reason: Why it is incomplete.
    """

    status: str
    usage: Usage | None = None
    error: str | None = None
    reason: str | None = None


def response_object(
    facts: RunFacts,
    leg_id: str,
    previous: str | None,
    outcome: LegOutcome,
    output: Sequence[Json],
) -> Json:
    """A leg as a response; its runs are durable, so each is a background one, and stored."""
    conversation = facts.conversation
    error = None
    if outcome.error is not None:
        error = {"code": "server_error", "message": outcome.error}
    return {
        "id": leg_id,
        "object": "response",
        "created_at": facts.created_at,
        "status": outcome.status,
        "background": True,
        "error": error,
        "incomplete_details": None if outcome.reason is None else {"reason": outcome.reason},
        "instructions": None,
        "max_output_tokens": None,
        "model": facts.agent,
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": previous,
        "conversation": None if conversation is None else {"id": conversation},
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None if outcome.usage is None else usage_object(outcome.usage),
        "metadata": dict(facts.metadata),
    }


def usage_object(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
