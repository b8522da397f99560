"""A transcript: what a reader has understood, whatever is withdrawn."""

from typing import Any

from evented_agent.chunks import Chunk, TextUpdate, Transcript
from evented_agent.chunks.codec import decode, encode


def chunks(*said: tuple[str, str, dict[str, Any]]) -> list[Chunk]:
    """Chunks as they come from a topic: type, task and payload of each."""
    return [
        decode(seq, f"{seq}-1", "r", encode(type_, task, payload))
        for seq, (type_, task, payload) in enumerate(said, 1)
    ]


def delta(task: str, part: str, text: str) -> tuple[str, str, dict[str, Any]]:
    return ("text-delta", task, {"id": part, "text": text})


def start(task: str, part: str) -> tuple[str, str, dict[str, Any]]:
    return ("text-start", task, {"id": part})


def reset(task: str, since: int) -> tuple[str, str, dict[str, Any]]:
    return ("step-reset", task, {"step": 1, "fromSeq": since, "attempt": 2, "reason": "crash"})


def test_two_parts_are_two_paragraphs() -> None:
    transcript = Transcript()
    said = [start("1:model", "a"), delta("1:model", "a", "One."), delta("2:model", "b", "Two.")]
    updates = [transcript.feed(chunk) for chunk in chunks(*said)]

    assert updates == [
        None,
        TextUpdate("One.", "One.", reset=False),
        TextUpdate("\n\nTwo.", "One.\n\nTwo.", reset=False),
    ]
    assert transcript.text == "One.\n\nTwo."


def test_a_delta_without_text_changes_nothing() -> None:
    transcript = Transcript()

    assert [transcript.feed(chunk) for chunk in chunks(delta("1:model", "a", ""))] == [None]


def test_a_reset_drops_what_its_task_wrote_since() -> None:
    transcript = Transcript()
    said = [
        delta("1:model", "a", "Kept."),
        start("2:model", "b"),
        delta("2:model", "b", "Dropped."),
        reset("2:model", 2),
    ]
    *_, last = [transcript.feed(chunk) for chunk in chunks(*said)]

    assert last == TextUpdate("", "Kept.", reset=True)


def test_a_reset_of_nothing_changes_nothing() -> None:
    transcript = Transcript()
    said = [delta("1:model", "a", "Kept."), reset("2:model", 1)]

    assert [transcript.feed(chunk) for chunk in chunks(*said)][1] is None


def test_a_reader_that_starts_over_forgets_everything() -> None:
    transcript = Transcript()
    said = [delta("1:model", "a", "Gone."), ("topic-reset", "", {"reason": "lost"})]
    *_, last = [transcript.feed(chunk) for chunk in chunks(*said)]

    assert last == TextUpdate("", "", reset=True)


def test_chunks_without_text_are_passed_over() -> None:
    transcript = Transcript()

    assert [transcript.feed(chunk) for chunk in chunks(("start", "", {"id": "a"}))] == [None]
