"""Background calls: what is refused at declaration, and what a model's wish comes to."""

from datetime import timedelta
from typing import Any

import pytest

from evented_agent import Background, DeclarationError
from evented_agent.agents.tools.background import checked_background, chosen_background

LIMITED = Background(timeout=10, retries=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"disposition": "later"},
        {"when_full": "wait"},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"wait_timeout": None},
        {"retries": -1},
        {"retries": True},
        {"key_concurrency": 0},
        {"key": "topic"},
    ],
)
def test_a_background_option_that_could_not_work_is_refused_by_name(wrong: dict[str, Any]) -> None:
    [option] = wrong

    with pytest.raises(DeclarationError, match=rf"Background\({option}="):
        Background(**wrong)


@pytest.mark.parametrize(
    ("declared", "meant"),
    [(None, None), (False, None), (True, Background()), (LIMITED, LIMITED)],
)
def test_background_is_a_switch_or_its_options(declared: Any, meant: Background | None) -> None:
    assert checked_background(declared, "Tool 'x'") == meant


def test_background_is_nothing_else() -> None:
    with pytest.raises(DeclarationError, match=r"Tool 'x': background='yes'\. Use True"):
        checked_background("yes", "Tool 'x'")


@pytest.mark.parametrize(
    ("allowed", "wish", "chosen"),
    [
        (None, {"disposition": "deferred"}, None),
        (LIMITED, None, LIMITED),
        (LIMITED, {"disposition": "foreground"}, None),
        (LIMITED, {"enabled": False}, None),
        (
            LIMITED,
            {"disposition": "awaited"},
            Background(disposition="awaited", timeout=10, retries=2),
        ),
        (LIMITED, {"disposition": "never heard of"}, LIMITED),
        (LIMITED, {"timeout": 5, "retries": 1}, Background(timeout=5, retries=1)),
        (LIMITED, {"timeout": 50, "retries": 5}, LIMITED),
        (LIMITED, {"timeout": "long", "retries": -1}, LIMITED),
        (Background(), {"timeout": 50, "retries": 5}, Background(timeout=50, retries=0)),
        (Background(), {"timeout": 1e6}, Background(timeout=24 * 3600)),
        (Background(), {"timeout": 1e306}, Background()),
        (Background(), {"timeout": 10**400}, Background()),
    ],
)
def test_a_model_chooses_within_what_is_declared(
    allowed: Background | None, wish: dict[str, Any] | None, chosen: Background | None
) -> None:
    assert chosen_background(allowed, wish) == chosen


def test_the_limits_of_the_tool_hold_where_the_background_has_none() -> None:
    wish = {"timeout": 3600, "retries": 1_000_000}

    within = chosen_background(Background(), wish, timeout=30, retries=1)
    own = chosen_background(LIMITED, wish, timeout=30, retries=1)

    assert within == Background(timeout=30, retries=1)
    assert own == LIMITED


@pytest.mark.parametrize("given", [1e306, 10**400, timedelta.max])
def test_a_span_beyond_all_calendars_is_refused(given: Any) -> None:
    with pytest.raises(DeclarationError, match=r"Background\(timeout="):
        Background(timeout=given)
