"""A run that makes each look at it err is failed by the watchdog; others are left alone."""

from typing import Any

import pytest

from evented_agent.errors import LedgerUnavailable
from evented_agent.execution.watchdog import MOST_ERRING, MOST_ERRORS, Watchdog
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.watch import Reconciled

BROKEN = LedgerUnavailable("Redis refused: user_script:9: bad record script: f, on @user_script:9.")


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def send(_: object, call: Any, **__: object) -> bool:
        # Engines of other tests may still have threads that ask.
        if call.script.name == "give_up_run":
            found.append(call.args[0])
        return True

    monkeypatch.setattr("evented_agent.ledger.connection.Ledger.send", send)
    return found


def _watchdog() -> Watchdog:
    settings = Settings()
    return Watchdog(
        Keys(), "redis://127.0.0.1:1/0", settings=settings, notify=lambda _: True, myself=_nobody
    )


def _nobody() -> Any:
    raise AssertionError("nobody asks")


def test_a_run_is_given_up_after_so_many_errors_in_a_row(given_up: list[str]) -> None:
    watchdog = _watchdog()
    for _ in range(MOST_ERRORS - 1):
        watchdog._found("r", BROKEN)
    assert given_up == []

    watchdog._found("r", BROKEN)

    assert given_up == ["r"]


def test_a_look_that_succeeds_begins_the_count_anew(given_up: list[str]) -> None:
    watchdog = _watchdog()
    looks: list[Reconciled | BaseException] = [BROKEN] * (MOST_ERRORS - 1)
    looks += [Reconciled((), ()), BROKEN]
    for found in looks:
        watchdog._found("r", found)
    for _ in range(MOST_ERRORS * 2):
        watchdog._found("s", LedgerUnavailable("Redis could not be reached"))

    assert given_up == []


def test_no_run_is_given_up_for_what_is_wrong_with_all_of_them(given_up: list[str]) -> None:
    watchdog = _watchdog()
    for _ in range(MOST_ERRORS * 2):
        for number in range(MOST_ERRING + 1):
            watchdog._found(f"r{number}", BROKEN)

    assert given_up == []
