"""What a record keeps of a span, and what of that is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.telemetry.trace_context import (
    LONG_MEMBER,
    MOST_MEMBERS,
    MOST_STATE,
    TraceContext,
    bounded_state,
    parse_stored,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
MEMBERS = st.lists(
    st.tuples(
        st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
        st.from_regex(r"[a-zA-Z0-9.:;]{1,140}", fullmatch=True),
    ),
    max_size=40,
    unique_by=lambda member: member[0],
)


def test_what_is_stored_is_w3c_trace_context() -> None:
    context = TraceContext(int(TRACE, 16), int(SPAN, 16), 1, "vendor=a,other=b")

    assert context.stored() == f"{PARENT} vendor=a,other=b"
    assert parse_stored(context.stored()) == context
    assert parse_stored(PARENT) == TraceContext(context.trace_id, context.span_id, 1)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "nonsense",
        f"01-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f" {PARENT}",
        f"{PARENT}\n",
        f"00-{'٣' * 32}-{SPAN}-01",
        f"{PARENT} a={'b' * MOST_STATE}",
        "x" * 10_000_000,
    ],
    ids=range(14),
)
def test_what_no_span_can_be_is_none(stored: str) -> None:
    assert parse_stored(stored) is None


@pytest.mark.parametrize(
    "state",
    [
        *("=", "a", "A=b", "a=b,a=c", "a=b\x00", "a=ü", "a=b,,c=d"),
        ",".join(f"a{n}=b" for n in range(33)),
    ],
)
def test_a_malformed_tracestate_is_left_out(state: str) -> None:
    found = parse_stored(f"{PARENT} {state}")

    assert found == parse_stored(PARENT)


def test_flags_without_a_meaning_are_left_out() -> None:
    found = parse_stored(f"00-{TRACE}-{SPAN}-ff")
    assert found is not None
    assert found.flags == 3


@given(MEMBERS)
def test_a_tracestate_is_stored_as_far_as_it_fits(members: list[tuple[str, str]]) -> None:
    given_members = [f"{key}={value}" for key, value in members]
    kept = bounded_state(",".join(given_members)).split(",") if members else []

    assert len(",".join(kept)) <= MOST_STATE
    assert len(kept) <= MOST_MEMBERS
    assert kept in ([""], [m for m in given_members if m in kept])
    if len(",".join(given_members)) > MOST_STATE and kept != [""]:
        assert all(len(member) <= LONG_MEMBER for member in kept) or len(kept) < len(given_members)


@given(st.text(max_size=700))
def test_whatever_is_stored_is_read_without_an_error(text: str) -> None:
    for stored in (text, f"{PARENT} {text}"):
        found = parse_stored(stored)
        assert found is None or len(found.state) <= MOST_STATE
    assert len(bounded_state(text)) <= MOST_STATE
