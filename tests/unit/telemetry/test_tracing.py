"""When a process looks for somebody who wants to know what its attempts do."""

from types import SimpleNamespace
from typing import cast

import pytest

from evented_agent import Settings
from evented_agent.ledger.records import Claim
from evented_agent.telemetry import tracing
from evented_agent.telemetry.spans import AttemptTrace
from evented_agent.telemetry.tracing import Tracing


def test_attempts_without_a_provider_look_for_one_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, traced = SimpleNamespace(now=100.0, looks=0, is_on=False), AttemptTrace()

    def is_traced(_: Settings) -> bool:
        clock.looks += 1
        return bool(clock.is_on)

    recorder = SimpleNamespace(record_attempt=lambda _: traced)
    monkeypatch.setattr(tracing, "is_traced", is_traced)
    monkeypatch.setattr(tracing, "recorder", lambda: recorder)
    monkeypatch.setattr(tracing, "time", SimpleNamespace(monotonic=lambda: clock.now))
    of_process = Tracing()

    def is_joined() -> bool:
        return of_process.join(Settings(), cast(Claim, None)) is traced

    assert [is_joined() for _ in range(3)] == [False] * 3
    assert clock.looks == 1
    clock.is_on = True
    assert not is_joined()
    clock.now += 1
    assert is_joined()
    assert is_joined()
    assert clock.looks == 3
