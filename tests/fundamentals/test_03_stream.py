"""`stream` returns at once; what the run says is read from its topic, chunk by chunk."""

from evented_agent import Agent
from evented_agent.testing import ScriptedModel
from tests.fundamentals.conftest import Serve

speaker = Agent(id="speaker", model=ScriptedModel(["One two three."]))


def test_a_run_is_a_sequence_of_typed_chunks(serve: Serve) -> None:
    """Iterating over a run gives every chunk in order, from `start` to `finish`."""
    chunks = list(serve(speaker).stream("Count."))
    types = [chunk.type for chunk in chunks]

    assert (types[0], types[-1]) == ("start", "finish")
    assert types.count("text-delta") == 3
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))


def test_the_text_alone_as_it_grows(serve: Serve) -> None:
    """`text_parts` gives what was added and the whole so far, which is what a page shows."""
    parts = list(serve(speaker).stream("Count.").text_parts())

    assert [part.delta for part in parts] == ["One ", "two ", "three."]
    assert parts[-1].snapshot == "One two three."


def test_a_cursor_says_where_a_reader_was(serve: Serve) -> None:
    """Every chunk has a cursor; reading after it gives the rest and nothing twice."""
    durable = serve(speaker)
    run = durable.stream("Count.")
    chunks = list(run)
    rest = durable.observe(run.run_id, after=chunks[2].cursor)

    assert [chunk.seq for chunk in rest] == [chunk.seq for chunk in chunks[3:]]
