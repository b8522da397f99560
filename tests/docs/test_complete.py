"""Pages that list things list them all."""

import re
from dataclasses import fields

import pytest

from evented_agent import Settings, errors
from evented_agent.chunks import Other
from evented_agent.ledger.records import FORMAT, Record, Task
from evented_agent.ledger.workers import LiveWorker
from evented_agent.state.run_info import waiting_for
from tests.support import chunks_page
from tests.support.workers import ROOT

TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()


def test_the_page_of_chunks_is_what_the_classes_say() -> None:
    assert chunks_page.PAGE.read_text() == chunks_page.page(), (
        "Write it anew: python -m tests.support.chunks_page"
    )


def test_each_chunk_and_each_field_of_its_payload_has_words() -> None:
    text = chunks_page.page()
    classes = [each for each in chunks_page.chunk_classes() if each is not Other]

    assert text.count("### `") == len(classes) > 30
    assert [line for line in text.splitlines() if re.fullmatch(r"\| `.*` \| .* \|  \|", line)] == []


@pytest.mark.parametrize("name", errors.__all__)
def test_each_error_has_a_line(name: str) -> None:
    assert f"| `{name}` |" in TROUBLE


@pytest.mark.parametrize("field", [each.name for each in fields(Settings)])
def test_each_setting_has_a_line(field: str) -> None:
    assert f"| `{field}` |" in SETTINGS


def waits(*workers: LiveWorker, waits_for: str | None = None) -> str:
    task = Task("r", "1:model", "model", 1, "queued", 1, queued_at=0, waits_for=waits_for)
    stored = {"agent": "clerk", "queue": "agents", "v": str(FORMAT)}
    record = Record("r", 60_000, stored, [task], "1-1", ())
    said = waiting_for(record, workers)
    assert said is not None
    return said


def worker(**about: object) -> LiveWorker:
    given = {"queues": ["agents"], "agents": ["clerk"], "slots": 1, **about}
    return LiveWorker(id="w", node="w1@host", pool="threads", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        waits(),
        waits(worker(queues=["celery"])),
        waits(worker(queues=["mail"], agents=[])),
        waits(worker(agents=[])),
        waits(worker(format=FORMAT - 1)),
        waits(worker(busy=1)),
        waits(waits_for="its turn in thread 't1', which run 'x' has"),
    ],
)
def test_whatever_a_run_waits_for_has_a_line(said: str) -> None:
    lack = said.partition(";")[0]
    before, bracket, reason = lack.partition(" (")
    rows = [row for row in TROUBLE.splitlines() if row.startswith("|")]

    words = before.replace("'t1', which run 'x' has", "").strip()
    assert any(words in row for row in rows), said
    if bracket and reason.startswith(("those that live", "w1@host")):
        assert any(reason.rstrip(")") in row for row in rows), said
