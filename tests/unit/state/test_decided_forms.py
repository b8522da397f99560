"""What the journal keeps of each thing that can follow a step, to the byte."""

import pytest

from evented_agent.models.messages import ToolCall
from evented_agent.state.decide import (
    CallModel,
    CallTools,
    Drop,
    FinishRun,
    Idle,
    NextAction,
    Repair,
    decided,
)
from evented_agent.state.journal import dump_entry, load_entry

FORMS: list[tuple[NextAction, str]] = [
    (CallModel(3), '{"k":"decision","step":2,"follows":"step"}'),
    (
        CallModel(3, "Be brief."),
        '{"k":"decision","step":2,"follows":"step","feedback":"Be brief.","last":false}',
    ),
    (
        CallModel(3, "Be brief.", is_last=True),
        '{"k":"decision","step":2,"follows":"step","feedback":"Be brief.","last":true}',
    ),
    (
        CallModel(3, notice="Background tasks:"),
        '{"k":"decision","step":2,"follows":"follow-up","notice":"Background tasks:"}',
    ),
    (
        CallTools(2, [ToolCall(id="c", name="t")]),
        '{"k":"decision","step":2,"follows":"tools"}',
    ),
    (
        Repair(3, "Answer again."),
        '{"k":"decision","step":2,"follows":"repair","feedback":"Answer again.","last":false}',
    ),
    (Idle(), '{"k":"decision","step":2,"follows":"idle"}'),
    (Drop(), '{"k":"decision","step":2,"follows":"drop"}'),
    (FinishRun("stop"), '{"k":"decision","step":2,"follows":"finish"}'),
]


@pytest.mark.parametrize(("action", "stored"), FORMS)
def test_an_action_is_journalled_as_it_always_was(action: NextAction, stored: str) -> None:
    assert dump_entry(decided(2, action)) == stored
    assert load_entry(stored) == decided(2, action)
