"""Spans of time: seconds or timedeltas, and sentences for everything else."""

import math
from datetime import timedelta
from typing import Any

import pytest

from evented_agent.agents.run_options import RunOptions
from evented_agent.agents.tools.background import Background
from evented_agent.durations import as_seconds, in_seconds
from evented_agent.errors import DeclarationError


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(3, 3.0), (0.5, 0.5), (0, 0.0), (timedelta(minutes=1), 60.0), (timedelta(0), 0.0)],
)
def test_a_span_is_read_as_seconds(given: Any, seconds: float) -> None:
    assert as_seconds(given) == in_seconds(given) == seconds


@pytest.mark.parametrize(
    "given", [True, None, "3", -1, -0.1, math.nan, math.inf, timedelta(seconds=-1), [3]]
)
def test_what_is_no_span_is_none(given: Any) -> None:
    assert as_seconds(given) is None


@pytest.mark.parametrize("given", [0, -1, math.nan, True, "soon", timedelta(0)])
@pytest.mark.parametrize("option", ["deadline", "until_idle"])
def test_a_wrong_span_of_a_run_is_refused_with_what_to_pass(option: str, given: Any) -> None:
    with pytest.raises(DeclarationError, match=f"The option {option} is not valid") as caught:
        RunOptions.parse({option: given})

    assert "pass seconds above 0, or a timedelta" in str(caught.value)


@pytest.mark.parametrize("given", [0, -1, math.nan, True, "soon", timedelta(0)])
@pytest.mark.parametrize("option", ["timeout", "wait_timeout"])
def test_a_wrong_span_of_a_background_call_is_refused(option: str, given: Any) -> None:
    with pytest.raises(DeclarationError, match="use seconds above 0"):
        Background(**{option: given})


def test_a_span_of_a_run_is_stored_as_seconds() -> None:
    given = {"deadline": timedelta(hours=1), "until_idle": 5}

    assert RunOptions.load(RunOptions.parse(given).json()).deadline == 3600.0
    assert RunOptions.parse(given).json() == '{"until_idle":5.0,"deadline":3600.0}'
