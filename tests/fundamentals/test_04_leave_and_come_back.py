"""A run does not need its caller: leave, and come back with its id."""

import pytest

from evented_agent import Agent, RunConflict, RunNotFound
from evented_agent.testing import ScriptedModel
from tests.fundamentals.conftest import Serve

speaker = Agent(id="absent", model=ScriptedModel(["Still here."]))


def test_a_run_goes_on_without_a_reader(serve: Serve) -> None:
    """Nobody has to read while it runs: the id is enough to read all of it later."""
    durable = serve(speaker)
    run_id = durable.stream("Are you there?").run_id

    assert durable.observe(run_id).result().text == "Still here."


def test_a_run_that_has_ended_is_read_as_if_it_were_live(serve: Serve) -> None:
    """A reader that comes late gets the same chunks as one that was there."""
    durable = serve(speaker)
    run = durable.stream("Are you there?")
    live = [chunk.type for chunk in run]

    assert [chunk.type for chunk in durable.observe(run.run_id)] == live


def test_the_same_id_starts_one_run(serve: Serve) -> None:
    """Choose the id yourself, and a request that is sent twice starts one run."""
    durable = serve(speaker)
    first = durable.stream("Are you there?", run_id="order-7")

    assert durable.stream("Are you there?", run_id="order-7").result() == first.result()
    with pytest.raises(RunConflict):
        durable.stream("Something else.", run_id="order-7")


def test_an_id_that_no_run_has_is_an_error(serve: Serve) -> None:
    """An unknown id is told apart from a run that has nothing to say yet."""
    with pytest.raises(RunNotFound):
        serve(speaker).observe("no-such-run")
