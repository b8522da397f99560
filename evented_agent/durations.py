"""Spans of time as users write them: seconds, or a `timedelta`.  Imports no other module."""

from datetime import timedelta
from typing import TypeGuard

#: What every option takes that means a span of time: a number of seconds, or a timedelta.
Duration = float | timedelta
#: The longest span, 1,000 years: a point of time so far away is still a whole number of ms.
MOST_SECONDS = 1000 * 365.25 * 24 * 3600


def as_seconds(value: object) -> float | None:
    """*value* as seconds; None for what is no span of time: NaN, negative, without end."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    # bool is an int, and True no second.
    if type(value) not in (int, float):
        return None
    assert isinstance(value, int | float)
    return float(value) if 0 <= value <= MOST_SECONDS else None


def in_seconds(value: Duration) -> float:
    """*value*, which was checked before, as seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def is_positive(seconds: float | None) -> TypeGuard[float]:
    """Whether `as_seconds` found a span, and one above 0."""
    return seconds is not None and seconds > 0
