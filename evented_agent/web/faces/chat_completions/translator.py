"""From the log of a run to the events of a chat completion.  Pure: does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.chunks import (
    Abort,
    AnyChunk,
    Error,
    Finish,
    MessageApplied,
    StepFinish,
    Transcript,
    Usage,
)
from evented_agent.web.faces.legs import Leg, LegEnd

#: A completion, a piece of one, or why there is none: JSON, as it is sent.
Completion = dict[str, Any]

_REASONS = {"length": "length", "content-filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class CompletionFacts:
    """What is the same in all that is said of a completion.

    Attributes:
        run_id: The run.
        agent: The agent's id.
        created_at: When it was created, in Unix seconds.
        has_usage: Whether the client wants to know the tokens of a stream.
    """

    run_id: str
    agent: str
    created_at: int
    has_usage: bool = False

    def object(
        self, kind: str, choices: Sequence[Completion], more: Mapping[str, Any]
    ) -> Completion:
        return {
            "id": f"chatcmpl-{self.run_id}",
            "object": kind,
            "created": self.created_at,
            "model": self.agent,
            "choices": list(choices),
            **more,
        }


#: The last event of a stream in which all was said.
DONE = "[DONE]"


class CompletionStream:
    """The chunks of a completion, and the end of the stream.

    No chunk can take text back: where the run does, an error is the last that is sent.
    """

    def __init__(self, facts: CompletionFacts) -> None:
        self._facts = facts
        self._transcript = Transcript()
        self._used = Usage()

    def begin(self, _: Leg, __: AnyChunk) -> Sequence[Completion | str]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def feed(self, chunk: AnyChunk) -> Sequence[Completion | str]:
        self._used += usage_in(chunk)
        update = self._transcript.feed(chunk)
        if update is None:
            return ()
        if update.reset:
            message = "The answer began anew, and what was sent of it no longer counts."
            return [error_of(self._facts, "text_withdrawn", message)]
        return [self._chunk({"content": update.delta})]

    def end(self, ending: LegEnd) -> Sequence[Completion | str]:
        failure = no_completion(self._facts, ending)
        if failure is not None:
            return [failure]
        finished = self._chunk({}, finish_reason_of(ending))
        if not self._facts.has_usage:
            return [finished, DONE]
        usage = usage_of(ending, self._used)
        counted = self._facts.object("chat.completion.chunk", [], {"usage": usage})
        return [finished, counted, DONE]

    def _chunk(self, delta: Completion, reason: str | None = None) -> Completion:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._facts.has_usage else {}
        return self._facts.object("chat.completion.chunk", [choice], usage)


class WholeCompletion:
    """One event at the end: the completion, or why there is none."""

    def __init__(self, facts: CompletionFacts) -> None:
        self._facts = facts
        self._transcript = Transcript()
        self._used = Usage()

    def begin(self, _: Leg, __: AnyChunk) -> Sequence[Completion]:
        return ()

    def feed(self, chunk: AnyChunk) -> Sequence[Completion]:
        self._used += usage_in(chunk)
        self._transcript.feed(chunk)
        return ()

    def end(self, ending: LegEnd) -> Sequence[Completion]:
        failure = no_completion(self._facts, ending)
        if failure is not None:
            return [failure]
        message = {"role": "assistant", "content": self._transcript.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None}
        choice["finish_reason"] = finish_reason_of(ending)
        usage = usage_of(ending, self._used)
        return [self._facts.object("chat.completion", [choice], {"usage": usage})]


def no_completion(facts: CompletionFacts, ending: LegEnd) -> Completion | None:
    """Why there is no completion; None where there is one."""
    match ending:
        case Finish() | MessageApplied():
            return None
        case Error():
            error = ending.payload.error
            return error_of(facts, "server_error", f"{error.name}: {error.message}", "run_failed")
        case Abort():
            reason = ending.payload.reason or "no reason given"
            return error_of(facts, "run_aborted", f"The run was aborted: {reason}.")
    return error_of(
        facts,
        "run_suspended",
        f"The run {facts.run_id} waits for people. Decide, and follow it, by another protocol.",
    )


def error_of(
    facts: CompletionFacts, type_: str, message: str, code: str | None = None
) -> Completion:
    error = {"message": message, "type": type_, "param": None, "code": code or type_}
    return {"error": {**error, "run_id": facts.run_id}}


def finish_reason_of(ending: LegEnd) -> str:
    # "tool_calls" would make clients look for calls that are theirs.
    reason = ending.payload.step_result.reason if isinstance(ending, Finish) else "stop"
    return _REASONS.get(reason, "stop")


def usage_in(chunk: AnyChunk) -> Usage:
    """What a step used that ends with this chunk."""
    return chunk.payload.output.usage if isinstance(chunk, StepFinish) else Usage()


def usage_of(ending: LegEnd, so_far: Usage) -> Mapping[str, Any]:
    """What the run used; where another message is answered next, what it used *so_far*."""
    usage = ending.payload.output.usage if isinstance(ending, Finish) else so_far
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
