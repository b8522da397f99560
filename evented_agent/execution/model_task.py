"""One model call: the request from the journal, the answer into the topic, the turn back."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import pydantic_core

from evented_agent.errors import ModelError
from evented_agent.execution.answer import Answer
from evented_agent.execution.approval import next_tasks
from evented_agent.execution.attempt import Again, Attempt, Done, Ending, backoff
from evented_agent.execution.output import Closing
from evented_agent.ledger.records import Finish, NewTask, Work
from evented_agent.loop import State, Turn, dump_entry, fold
from evented_agent.messages import load_messages
from evented_agent.models.protocol import (
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningPiece,
    TextPiece,
    ToolSpec,
)

logger = logging.getLogger(__name__)

#: Seconds before the second try of a model call, doubling up to the most.
FIRST_WAIT, MOST_WAIT = 0.5, 30.0
#: Let the append in flight go on after so many pieces of a model that never waits.
PIECES_PER_TURN = 64

_CLOSES = {
    "text-start": "text-end",
    "reasoning-start": "reasoning-end",
    "tool-call-input-streaming-start": "tool-call-input-streaming-end",
}


async def run_model(attempt: Attempt) -> Done | Again:
    """Call the model once; what follows a failure is decided by the agent's policy."""
    state = fold(await attempt.entries())
    messages = load_messages(pydantic_core.from_json(attempt.claim.messages))
    request = build_request(attempt, [*messages, *state.messages()])
    models = attempt.agent.models
    index = min(attempt.task.model, len(models) - 1)
    model = models[index]
    answer = Answer(
        step=attempt.task.step, attempt=attempt.task.generation, used_call_ids=state.call_ids
    )
    try:
        await attempt.check_lease()
        await _listen(attempt, model, request, answer)
    except ModelError as error:
        return await _failed(attempt, state, model, index, error)
    except asyncio.CancelledError:
        if attempt.lease.stopped != "aborted":
            raise
        return await _cut_short(attempt, answer, model)
    attempt.close()
    for type_, payload in answer.requests():
        attempt.output.put(type_, payload)
    turn = answer.turn(model=model.name)
    return Done(await _turn_work(attempt, turn, await next_tasks(attempt, turn)))


def build_request(attempt: Attempt, messages: Sequence[Any]) -> ModelRequest:
    """What the model is asked, from the agent's declaration and the run's options."""
    agent, options = attempt.agent, attempt.options
    instructions = options.instructions
    if instructions is None:
        declared = agent.instructions
        instructions = declared(options.context) if callable(declared) else declared
    active = options.active_tools if options.active_tools is not None else agent.active_tools
    tools = [
        ToolSpec(tool.name, tool.description, tool.parameters)
        for tool in agent.tools
        if active is None or tool.name in active
    ]
    return ModelRequest(
        messages=messages,
        instructions=instructions,
        tools=tools,
        tool_choice=options.tool_choice or agent.tool_choice,
        settings={**agent.model_settings, **options.model_settings},
    )


async def _listen(attempt: Attempt, model: Model, request: ModelRequest, answer: Answer) -> None:
    """Stream the answer into the topic; `ModelError` unless it came to its end."""
    output = attempt.output
    events = model.stream(request)
    words = 0
    try:
        async with asyncio.timeout(attempt.agent.model_timeout):
            async for event in events:
                for type_, payload in answer.take(event):
                    _say(attempt, type_, payload)
                # Words are for people: the first leaves at once. A call's arguments may wait for
                # whatever else has arrived with them.
                if isinstance(event, TextPiece | ReasoningPiece):
                    if words % PIECES_PER_TURN == 0:
                        await asyncio.sleep(0)
                    words += 1
                if output.is_full:
                    await output.room()
    except TimeoutError:
        raise ModelError(
            f"{model.name} did not complete its answer in {attempt.agent.model_timeout:g} s.",
            retryable=True,
        ) from None
    finally:
        await _close(events)
    if answer.ended is None:
        raise ModelError(f"{model.name} cut its answer off.", retryable=True)


def _say(attempt: Attempt, type_: str, payload: dict[str, Any]) -> None:
    part = payload.get("id") or payload.get("toolCallId") or ""
    if closing := _CLOSES.get(type_):
        key = "toolCallId" if "toolCallId" in payload else "id"
        attempt.output.put(type_, payload, opens=Closing(part, closing, {key: part}))
    elif type_.endswith("-end"):
        attempt.output.put(type_, payload, closes=part)
    else:
        attempt.output.put(type_, payload)


async def _close(events: AsyncIterator[ModelEvent]) -> None:
    if isinstance(events, AsyncGenerator):
        await events.aclose()


async def _turn_work(attempt: Attempt, turn: Turn, following: list[NewTask]) -> Work:
    attempt.close()
    entry = await attempt.output.stored(dump_entry(turn))
    return Work(
        chunks=await attempt.output.rest(),
        entries=[entry],
        next=following,
        usage={name: n for name, n in turn.usage.model_dump().items() if n},
    )


async def _cut_short(attempt: Attempt, answer: Answer, model: Model) -> Done:
    """The run is being aborted: keep what was said."""
    attempt.close()
    attempt.output.close_all()
    turn = answer.turn(model=model.name, reason="abort")
    return Done(await _turn_work(attempt, turn, []))


async def _failed(
    attempt: Attempt, state: State, model: Model, index: int, error: ModelError
) -> Done | Again:
    """Try again later, or with the next model, or end the run."""
    tries = attempt.task.tries
    if error.retryable and tries < attempt.agent.model_retries:
        delay = backoff(tries, first=FIRST_WAIT, most=MOST_WAIT)
        if error.retry_after is not None:
            delay = max(delay, error.retry_after)
        logger.warning("%s failed, again in %.1f s: %s", model.name, delay, error)
        return Again(delay, str(error), {"tries": tries + 1})
    if index + 1 < len(attempt.agent.models):
        following = attempt.agent.models[index + 1].name
        logger.warning("%s failed, going on with %s: %s", model.name, following, error)
        return Again(0, str(error), {"tries": 0, "model": index + 1})
    return await failed_run(attempt, state, error)


async def failed_run(attempt: Attempt, state: State, error: BaseException) -> Done:
    """End the run with *error*; its partial text stays."""
    attempt.close()
    info = {"name": type(error).__name__, "message": str(error)}
    attempt.output.close_all()
    attempt.output.put("error", {"error": info})
    ending = Ending(
        run_id=attempt.task.run_id,
        agent=attempt.agent.id,
        status="failed",
        text=state.text,
        reason="error",
        usage=state.usage,
        error=info,
    )
    await attempt.in_thread(lambda: attempt.process.on_ending(ending))
    finish = Finish("failed", "error", info)
    return Done(Work(chunks=await attempt.output.rest(), finish=finish), failure=error)
