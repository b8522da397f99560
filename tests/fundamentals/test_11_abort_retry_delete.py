"""Runs are ended, tried again and forgotten from outside, with nothing but their id."""

import pytest

from evented_agent import Agent, ModelError, RunAborted, RunDeleted
from evented_agent.models import ModelRequest
from evented_agent.testing import ScriptedModel
from tests.fundamentals.conftest import Serve


def test_an_aborted_run_keeps_what_it_said(serve: Serve) -> None:
    """`abort` ends a run wherever it is; the error has the text so far."""
    durable = serve(Agent(id="endless", model=ScriptedModel(["again " * 1000], pause=0.05)))
    run = durable.stream("Talk.")
    next(run.text_parts())

    assert durable.abort(run.run_id, reason="enough")
    with pytest.raises(RunAborted):
        run.result()
    assert durable.get(run.run_id).status == "aborted"


def test_a_failed_run_is_tried_again_from_where_it_failed(serve: Serve) -> None:
    """`retry` repeats the step that failed and none that was completed."""
    credit: list[str] = []

    def answer(_: ModelRequest) -> str:
        if not credit:
            raise ModelError("out of credit")
        return "Paid."

    durable = serve(Agent(id="debtor", model=ScriptedModel([answer])))
    run_id = durable.stream("Hi.").run_id
    list(durable.observe(run_id))
    credit.append("some")

    assert durable.retry(run_id).result().text == "Paid."


def test_a_deleted_run_is_gone_and_says_so(serve: Serve) -> None:
    """`delete` removes all that was stored of an ended run."""
    durable = serve(Agent(id="forgetful", model=ScriptedModel(["Hello."])))
    run = durable.stream("Hi.")
    run.result()
    durable.delete(run.run_id)

    with pytest.raises(RunDeleted):
        durable.observe(run.run_id)
