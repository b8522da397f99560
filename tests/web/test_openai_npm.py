"""OpenAI's client for JavaScript, a real server, two real workers, and kills in mid-answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from evented_agent import Runs
from evented_agent.web import create_app
from tests.conftest import StartWorker
from tests.http.conftest import Served, serving
from tests.http.openai_client import OPENAI_PATH
from tests.http.test_openai_workers import authorize_ann, kill_busy, newest, wait_for_text
from tests.support.node import NodeScript
from tests.support.words import TEXT
from tests.support.workers import WorkerProcess


@pytest.fixture(scope="module")
def site(runs: Runs) -> Iterator[Served]:
    with serving(create_app(runs, authorize=authorize_ann)) as site:
        yield site


@pytest.fixture
def workers(start_worker: StartWorker) -> list[WorkerProcess]:
    return [start_worker(name, concurrency=4) for name in ("w1", "w2")]


def situation(site: Served, name: str, **given: Any) -> NodeScript:
    """The client in one situation."""
    return NodeScript("openai_client.mjs", f"{site.url}{OPENAI_PATH}", name, json.dumps(given))


def outcome(site: Served, name: str, **given: Any) -> Any:
    with situation(site, name, **given) as script:
        return script.hear()


@pytest.mark.parametrize(("name", "seed"), [("drops", 1), ("drops", 7), ("helper", 1)])
def test_a_reader_in_javascript_ends_with_the_whole_text_over_a_killed_worker(
    name: str, seed: int, site: Served, runs: Runs, workers: list[WorkerProcess]
) -> None:
    with situation(site, name, seed=seed) as script:
        run_id = script.hear()["id"]
        wait_for_text(runs, run_id, "word20 ")
        kill_busy(runs, run_id, workers)
        found = script.hear()

    assert (found["status"], found["text"]) == ("completed", TEXT)
    assert found["types"] == ["message", "message"]
    assert runs.result(run_id).text == TEXT
    if name == "drops":
        assert found["inOrder"]
    else:
        assert found["first"] == 6


def test_the_situations_of_a_conversation_in_javascript(
    site: Served, runs: Runs, workers: list[WorkerProcess]
) -> None:
    waited = outcome(site, "wait", model="hello")
    assert (waited["status"], waited["text"]) == ("completed", "Hello, world.")
    assert outcome(site, "fetch", id=waited["id"]) == waited

    erase = {"model": "toolbox", "input": 'erase {"name": "a"}'}
    approved = outcome(site, "approve", **erase)
    assert approved["first"]["types"] == ["mcp_call", "mcp_approval_request"]
    assert approved["types"] == ["mcp_call", "message"]
    assert approved["text"] == "erased a"
    assert approved["third"]["text"] == "Hello, world."
    assert approved["id"].partition(":")[0] == approved["first"]["id"]
    assert runs.result(approved["first"]["id"]).text == approved["text"]

    declined = outcome(site, "decline", **erase)
    assert declined["status"] == "completed"
    assert runs.result(declined["id"].partition(":")[0]).text == declined["text"]
    asked = {"model": "toolbox", "input": 'ask {"question": "Really?"}'}
    assert outcome(site, "answer", **asked)["text"] == "They say yes."

    cancelled = outcome(site, "cancel")
    assert cancelled["told"] == cancelled["status"] == "cancelled"
    assert runs.result(cancelled["id"]).text == cancelled["text"]
    failed = outcome(site, "wait", model="failing")
    assert failed["status"] == "failed"
    assert "out of credit" in failed["error"]
    refused = outcome(site, "refused", model="hello")
    assert refused == {"name": "BadRequestError", "status": 400, "param": "temperature"}


def test_a_completion_in_javascript_is_whole_or_an_error(
    site: Served, runs: Runs, workers: list[WorkerProcess]
) -> None:
    assert outcome(site, "complete") == {"text": TEXT, "failure": None}
    before = {run.run_id for run in runs.list(agent="speaker", limit=50)}
    with situation(site, "complete") as script:
        run_id = newest(runs, "speaker", before)
        wait_for_text(runs, run_id, "word20 ")
        kill_busy(runs, run_id, workers)
        found = script.hear()

    assert "began anew" in found["failure"]
    assert TEXT.startswith(found["text"])
    assert runs.observe(run_id).result(30).text == TEXT
