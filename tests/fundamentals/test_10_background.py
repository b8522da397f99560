"""A background call runs beside the chat; a turn of its own tells of its result."""

from evented_agent import Agent, tool
from evented_agent.testing import ScriptedModel, tool_call
from tests.fundamentals.conftest import Serve


@tool(background=True)
async def compile_report(topic: str) -> str:
    """Write a long report."""
    return f"all about {topic}"


def make(id_: str) -> Agent:
    """An agent that has a report written, says so, and tells when it is there."""
    call = tool_call("compile_report", topic="tea")
    model = ScriptedModel([[call], "It is being written.", "It is done."])
    return Agent(id=id_, model=model, tools=[compile_report])


def test_the_chat_goes_on_and_the_result_follows(serve: Serve) -> None:
    """With `until_idle` the run stays open for the turn that follows the result."""
    result = serve(make("writer")).stream("Write it.", until_idle=True).result()

    assert result.text == "It is being written.\n\nIt is done."


def test_background_calls_can_be_looked_up(serve: Serve) -> None:
    """From any process: what runs beside a run, how far it is, and what came of it."""
    durable = serve(make("archivist"))
    run = durable.stream("Write it.", until_idle=True)
    run.result()
    [task] = durable.background_tasks(run.run_id)

    assert (task.tool_name, task.status, task.result) == (
        "compile_report",
        "completed",
        "all about tea",
    )
