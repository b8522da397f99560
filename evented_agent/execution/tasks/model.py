"""One model call: the request from the journal, the answer into the topic, the turn back."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pydantic_core

from evented_agent.agents.callbacks import NextStep, StepChoice
from evented_agent.agents.output_types import partial, strict_schema
from evented_agent.chunks import (
    CallSetAsidePayload,
    MessageApplied,
    MessageAppliedPayload,
    Object,
    ObjectPayload,
    ToolCallDropped,
    ToolCallRequested,
    Usage,
)
from evented_agent.chunks.json_values import error_text, for_log
from evented_agent.errors import DeclarationError, ModelError, RateLimited
from evented_agent.execution.attempt import (
    MARGIN,
    Attempt,
    Done,
    Requeue,
    backoff,
    failed_run,
)
from evented_agent.execution.interruption import Interruptible
from evented_agent.execution.tasks.answer import AnswerBuilder, Delta
from evented_agent.execution.tasks.background import spec_of
from evented_agent.execution.tasks.costs import cost_counts, priced
from evented_agent.execution.tasks.hooks import call_hook
from evented_agent.execution.tasks.mcp_tools import fix_mcp_tools
from evented_agent.execution.tasks.next_tasks import Following, next_tasks
from evented_agent.execution.tasks.thread import load_history, wait_for_turn
from evented_agent.ledger.records import Work
from evented_agent.logs import logger_of
from evented_agent.models.messages import Message, load_messages, without_prefix
from evented_agent.models.protocol import Model, ModelEvent, ModelRequest, ReasoningPiece, TextPiece
from evented_agent.models.resolve import resolve
from evented_agent.state.fold import INTERRUPTED, State, fold
from evented_agent.state.journal import Entry, History, Turn, dump_entry
from evented_agent.state.views import step_info

logger = logger_of(__name__)

#: Seconds before the second try of a model call, doubling up to the most.
_FIRST_WAIT, _MOST_WAIT = 0.5, 30.0
#: Characters that an answer grows by, at least, between two partial objects.
LEAST_GROWTH = 8
#: Pieces after which the event loop may run other tasks, if the model never waits.
PIECES_PER_TURN = 64

_NO_CHOICE = StepChoice()


async def run_model(attempt: Attempt) -> Done:
    """Call the model once; a failure is retried, falls back to the next model, or fails the run."""
    state = await _begin(attempt)
    given = load_messages(pydantic_core.from_json(attempt.claim.messages))
    messages = [*state.history, *given, *_own_ids(attempt, state.messages())]
    choice = await _choice(attempt, state, messages)
    instructions = await instructions_for(attempt, state, choice)
    request = build_request(attempt, messages, instructions.text, choice)
    models = models_of(attempt)
    index = min(attempt.task.model, len(models) - 1)
    model = models[index] if choice.model is None else resolve(choice.model)
    # A chosen model has none to fall back on.
    index = len(models) - 1 if choice.model is not None else index
    answer = AnswerBuilder(
        step=attempt.task.step,
        attempt=attempt.task.generation,
        used_call_ids=state.call_ids,
        most_bytes=attempt.process.settings.max_bytes - MARGIN,
        id_prefix=attempt.task.id_prefix,
    )
    _tell_applied(attempt, state)
    try:
        await attempt.check_lease()
        attempt.count("model_calls")
        since = time.monotonic()
        async with Interruptible(attempt.lease) as listening:
            await _listen(attempt, model, request, answer)
    except ModelError as error:
        return await _failed(attempt, state, model, index, error)
    except asyncio.CancelledError:
        if attempt.lease.stopped != "aborted":
            raise
        return await _cut_short(attempt, state, answer, model)
    if listening.was_interrupted and answer.ended is None:
        return await _interrupted(attempt, state, answer, model)
    attempt.count_time("answer", time.monotonic() - since)
    turn = answer.turn(model=model.name, seen=attempt.claim.journal_length)
    turn = await priced(attempt, state, model, answer, turn)
    return await _complete(attempt, state, answer, replace(turn, instructions=instructions.of_turn))


def _own_ids(attempt: Attempt, said: Sequence[Message]) -> Sequence[Message]:
    """The conversation with the ids that the model itself has given to its calls."""
    prefix = attempt.task.id_prefix
    return said if not prefix else [without_prefix(message, prefix) for message in said]


async def _complete(attempt: Attempt, state: State, answer: AnswerBuilder, turn: Turn) -> Done:
    """The answer has come to its end: what it asks for follows."""
    attempt.close()
    for payload in answer.requests():
        attempt.writer.put(ToolCallRequested, payload)
    _say_if_empty(attempt, turn)
    return Done(await _turn_work(attempt, state, turn, await next_tasks(attempt, turn)))


async def _begin(attempt: Attempt) -> State:
    """What was said so far; before a run's first call, whatever is due before it."""
    state = fold(await attempt.entries())
    # A failed run that goes on has left its thread.
    if not state.steps or attempt.claim.is_revived or attempt.claim.yielded:
        await wait_for_turn(attempt)
    if not state.steps:
        await call_hook(attempt, "start", state)
        state = replace(state, history=await load_history(attempt))
    await fix_mcp_tools(attempt)
    return state


def _tell_applied(attempt: Attempt, state: State) -> None:
    """Tell readers which messages the model has been sent that it had not seen."""
    if state.waiting:
        ids = [each.id for each in state.waiting]
        payload = MessageAppliedPayload(message_ids=ids, step=attempt.task.step)
        attempt.writer.put(MessageApplied, payload)


def models_of(attempt: Attempt) -> Sequence[Model]:
    """The agent's models in the order in which to ask them: the run's choice comes first."""
    models, chosen = attempt.agent.models, attempt.options.model
    first = [model for model in models if model.name == chosen]
    return [*first, *(model for model in models if model.name != chosen)] if first else models


async def _choice(attempt: Attempt, state: State, messages: Sequence[Message]) -> StepChoice:
    """What the agent's ``prepare_step``, or the policy that the run names, chooses."""
    named = attempt.policies(attempt.options.prepare_step)
    prepare = named[0] if named else attempt.agent.prepare_step
    if prepare is None:
        return StepChoice()
    following = NextStep(
        run_id=attempt.task.own_run_id,
        step=attempt.task.step,
        messages=messages,
        last=step_info(state) if state.steps else None,
        context=attempt.options.context,
    )
    return await attempt.call_user(prepare, following) or StepChoice()


def _say_if_empty(attempt: Attempt, turn: Turn) -> None:
    """Nobody can tell an empty answer from one that was lost, unless it is said."""
    if not (turn.text or turn.calls):
        logger.warning(
            "%s finished with nothing (%s) in step %d of run %s",
            turn.model,
            turn.reason,
            turn.step,
            attempt.task.own_run_id,
        )


class Told(NamedTuple):
    """What a model is told, and what of that the journal keeps with the turn's first answer."""

    text: str
    of_turn: str | None = None


async def instructions_for(attempt: Attempt, state: State, choice: StepChoice) -> Told:
    """The step's, the run's or the agent's instructions; a function is asked once a turn.

    What it gives is stored at once, so that a retry says the same, and journalled with the turn.
    """
    chosen = (
        choice.instructions if choice.instructions is not None else attempt.options.instructions
    )
    declared = attempt.agent.instructions
    if chosen is not None or not callable(declared):
        return Told(chosen if chosen is not None else str(declared))
    first = state.first_of_turn(attempt.task.step)
    known = state.instructions_of(first)
    if known is not None:
        return Told(known)
    name = f"instructions:{first}"
    stored = await attempt.stored_text(name)
    if stored is None:
        stored = await attempt.call_user(declared, attempt.options.context)
        if not isinstance(stored, str):
            raise DeclarationError(
                f"The instructions of agent {attempt.agent.id!r} gave {stored!r}. Return text."
            )
        await attempt.store_text(name, stored)
    return Told(stored, of_turn=stored)


def build_request(
    attempt: Attempt,
    messages: Sequence[Any],
    instructions: str,
    choice: StepChoice = _NO_CHOICE,
) -> ModelRequest:
    """The request, from the agent's declaration, the run's options and the step's choice."""
    agent, options = attempt.agent, attempt.options
    chosen = (choice.active_tools, options.active_tools, agent.active_tools)
    active = next((names for names in chosen if names is not None), None)
    tools = [
        spec_of(attempt, tool)
        for tool in attempt.tools.values()
        if active is None or tool.name in active
    ]
    tools += [made.spec for made in agent.handoffs.values()]
    return ModelRequest(
        messages=messages,
        instructions=instructions,
        tools=tools,
        tool_choice=choice.tool_choice or options.tool_choice or agent.tool_choice,
        settings={
            **_output_format(attempt),
            **agent.model_settings,
            **options.model_settings,
            **(choice.model_settings or {}),
        },
    )


def _output_format(attempt: Attempt) -> dict[str, Any]:
    wanted = attempt.output_type
    if wanted is None:
        return {}
    strict = strict_schema(wanted.schema)
    schema = wanted.schema if strict is None else strict
    described = {"name": wanted.name, "schema": dict(schema), "strict": strict is not None}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


async def _listen(
    attempt: Attempt, model: Model, request: ModelRequest, answer: AnswerBuilder
) -> None:
    """Stream the answer into the topic; `ModelError` unless it came to its end."""
    output = attempt.writer
    attempt.trace.begin_model_call(model, request)
    events = attempt.trace.watch(model.stream(request))
    objects = PartialObjects() if attempt.output_type is not None else None
    words = 0
    try:
        async with asyncio.timeout(attempt.agent.model_timeout):
            async for event in events:
                for new in answer.take(event):
                    if isinstance(new, Delta):
                        output.put_delta(*new)
                    else:
                        output.put(*new)
                if objects is not None and isinstance(event, TextPiece):
                    objects.add(attempt, event.text)
                words = await _yield_to_loop(event, words)
                if output.is_full:
                    await output.wait_for_space()
    except TimeoutError:
        raise ModelError(
            f"{model.name} did not complete its answer in {attempt.agent.model_timeout:g} s.",
            retryable=True,
        ) from None
    finally:
        await _close(events)
    if answer.ended is None:
        raise ModelError(f"{model.name} cut its answer off.", retryable=True)


async def _yield_to_loop(event: ModelEvent, words: int) -> int:
    """Let the event loop append the first words at once; returns how many words there were.

    People wait for words. A call's arguments may wait for whatever has arrived with them.
    """
    if not isinstance(event, TextPiece | ReasoningPiece):
        return words
    if words % PIECES_PER_TURN == 0:
        await asyncio.sleep(0)
    return words + 1


class PartialObjects:
    """Writes the object so far as a chunk, each time that the answer has grown by a tenth."""

    def __init__(self) -> None:
        self._text = ""
        self._shown_at = 0
        self._shown: Any = None

    def add(self, attempt: Attempt, piece: str) -> None:
        self._text += piece
        if len(self._text) < self._shown_at * 1.1 + LEAST_GROWTH:
            return
        self._shown_at = len(self._text)
        made = partial(self._text)
        if made is not None and made != self._shown:
            self._shown = made
            attempt.writer.put(Object, ObjectPayload(object=made))


async def _close(events: AsyncIterator[ModelEvent]) -> None:
    if isinstance(events, AsyncGenerator):
        await events.aclose()


async def _interrupted(attempt: Attempt, state: State, answer: AnswerBuilder, model: Model) -> Done:
    """A message cuts the answer short: what was said is kept, and the calls are not made."""
    attempt.close()
    attempt.writer.close_all()
    for call_id, name in answer.begun():
        payload = CallSetAsidePayload(tool_call_id=call_id, tool_name=name)
        attempt.writer.put(ToolCallDropped, payload)
    turn = answer.turn(model=model.name, reason=INTERRUPTED, seen=attempt.claim.journal_length)
    turn = await priced(attempt, state, model, answer, turn)
    return Done(await _turn_work(attempt, state, turn, Following()))


async def _turn_work(attempt: Attempt, state: State, turn: Turn, following: Following) -> Work:
    attempt.close()
    attempt.trace.answered(turn)
    # The history of the thread is journalled once, with the first turn.
    before: list[Entry] = [] if state.steps or not state.history else [History(state.history)]
    entries = [*before, turn, *following.results]
    return Work(
        chunks=await attempt.writer.drain(),
        entries=[await attempt.writer.stored(dump_entry(entry)) for entry in entries],
        turn=len(before),
        seen=turn.seen if state.waiting else None,
        next=following.tasks,
        usage={
            **{name: n for name in Usage.model_fields if (n := getattr(turn.usage, name))},
            **cost_counts(state, turn),
        },
    )


async def _cut_short(attempt: Attempt, state: State, answer: AnswerBuilder, model: Model) -> Done:
    """The run is being aborted: commit the part of the answer that came."""
    attempt.close()
    attempt.writer.close_all()
    turn = await priced(
        attempt, state, model, answer, answer.turn(model=model.name, reason="abort")
    )
    return Done(await _turn_work(attempt, state, turn, Following()))


async def _failed(
    attempt: Attempt, state: State, model: Model, index: int, error: ModelError
) -> Done:
    """Retry later, or with the next model, or fail the run."""
    tries, why = attempt.task.tries, for_log(error_text(error), 1000)
    most = attempt.agent.max_model_wait
    is_bearable = error.retry_after is None or error.retry_after <= most
    if error.retryable and is_bearable and tries < attempt.agent.model_retries:
        delay = min(backoff(tries, first=_FIRST_WAIT, most=_MOST_WAIT), most)
        delay = max(delay, error.retry_after or 0)
        logger.warning("%s failed, retry in %.1f s: %s", model.name, delay, why)
        waits_for = f"model {model.name}, which is asked again after {delay:.1f} s: {why}"
        change = {"tries": tries + 1, "waits_for": waits_for, "announces": "model"}
        raise Requeue(delay, why, change) from error
    models = models_of(attempt)
    if index + 1 < len(models):
        following = models[index + 1].name
        logger.warning("%s failed, falling back to %s: %s", model.name, following, why)
        raise Requeue(0, why, {"tries": 0, "model": index + 1}) from error
    if not is_bearable:
        error = _too_long(error, most)
    return await failed_run(attempt, state, error)


def _too_long(error: ModelError, most: float) -> RateLimited:
    """The error of a provider that asks for a wait which is longer than anybody waits."""
    return RateLimited(
        f"{error} It asks to wait {error.retry_after:,.0f} s, and max_model_wait is {most:g} s: "
        "declare another model to fall back on, or wait longer.",
        retry_after=error.retry_after,
        status=error.status,
    )
