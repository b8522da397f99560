"""On the wire a chunk is as many lines as it has, for every client's idea of a line."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.chunks import Chunk, Other, TextDelta
from evented_agent.chunks.codec import decode, encode

ENDS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
#: How clients split: as Python does, as the standard says, as some JavaScript does.
SPLITTERS = [
    str.splitlines,
    re.compile(r"\r\n|\n|\r").split,
    re.compile("\r\n|[\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029]").split,
]


def chunk_of(text: str, type_: str = "text-delta") -> Chunk:
    return decode(1, "1-1", "r", encode(type_, "1:model", {"id": "t", "text": text}))


@pytest.mark.parametrize("split", SPLITTERS)
@pytest.mark.parametrize("end", ENDS)
def test_no_text_forges_a_line(split: "object", end: str) -> None:
    text = f"a{end}id: 9-9{end}event: finish{end}{end}data: {{}}"

    lines = [line for line in split(chunk_of(text).sse()) if line]  # type: ignore[operator]

    assert lines[:2] == ["id: 1-1", "event: text-delta"]
    assert len(lines) == 3
    assert json.loads(lines[2].removeprefix("data: "))["payload"]["text"] == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_json_line_is_one_line_that_says_the_same(text: str) -> None:
    line = chunk_of(text).json_line()

    assert line.splitlines() == [line]
    assert json.loads(line)["payload"]["text"] == text


@pytest.mark.parametrize("end", ENDS)
def test_no_name_of_a_type_forges_a_line(end: str) -> None:
    chunk = chunk_of("x", f"data-a{end}event: finish")

    assert isinstance(chunk, Other)
    assert len([line for line in chunk.sse().splitlines() if line]) == 3


def test_what_is_read_in_the_library_is_the_text_itself() -> None:
    chunk = chunk_of("\u2028\x85")

    assert isinstance(chunk, TextDelta)
    assert chunk.payload.text == "\u2028\x85"
