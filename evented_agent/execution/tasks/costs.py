"""What a step's model call cost, as it is committed with its turn."""

from dataclasses import replace
from itertools import takewhile

from evented_agent.execution.attempt import Attempt
from evented_agent.execution.tasks.answer import AnswerBuilder
from evented_agent.models.cost import CallCost, Cost, cost_of_call, counts_of
from evented_agent.models.protocol import Model
from evented_agent.state.fold import State
from evented_agent.state.journal import Turn

_NOT_HERE = CallCost(None, reason="the worker that made the call prices nothing")


async def priced(
    attempt: Attempt, state: State, model: Model, answer: AnswerBuilder, turn: Turn
) -> Turn:
    """*turn* with the cost of its call, where this worker prices calls."""
    pricing = attempt.process.pricing
    if pricing is None:
        # A sum that has been begun is to say that it lacks this call.
        is_begun = bool(state.steps) and state.steps[-1].cost is not None
        return replace(turn, cost=_NOT_HERE) if is_begun else turn
    cost = await pricing.price(
        model,
        None if answer.ended is None else answer.ended.model,
        turn.usage,
        has_output=bool(turn.text or turn.calls or turn.reasoning),
    )
    return replace(turn, cost=cost)


def cost_counts(state: State, turn: Turn) -> dict[str, int]:
    """What a turn adds to the sums of its run.

    Steps right before it that a worker has committed without pricing are added as unpriced calls:
    a sum says what it lacks.
    """
    if turn.cost is None:
        return {}
    before = takewhile(lambda step: step.turn.cost is None, reversed(state.steps))
    unpriced = Cost(unpriced_calls=sum(1 for _ in before))
    return counts_of(cost_of_call(turn.cost) + unpriced)
