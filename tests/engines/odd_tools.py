"""Tools whose calls are counted, for `test_odd_values`; isolated ones are imported by name."""

import datetime
from pathlib import Path
from typing import Any

from evented_agent import tool

RETURNED: dict[str, Any] = {
    "nan": float("nan"),
    "set": {1},
    "large": "x" * 2_000_000,
    "int key": {1: 2},
    "deep": None,
    "object": object(),
    "date": {"on": datetime.date(2030, 1, 2)},
}


def act(log: str, what: str) -> Any:
    with Path(log).open("a") as file:
        file.write("acted\n")
    value: Any = RETURNED[what]
    if what == "deep":
        for _ in range(220):
            value = [value]
    return value


@tool(retries=2)
def pay(log: str, what: str) -> Any:
    """Act, then return something."""
    return act(log, what)


@tool(retries=2)
async def apay(log: str, what: str) -> Any:
    """Act on the event loop, then return something."""
    return act(log, what)


@tool(retries=2, isolate=True)
def pay_apart(log: str, what: str) -> Any:
    """Act in another process, then return something."""
    return act(log, what)
