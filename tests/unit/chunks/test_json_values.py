"""What may enter is read back equal by every reader; all else is refused, never changed."""

import datetime
import enum
import json
import math
import uuid
from collections import deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import pydantic
import pydantic_core
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.chunks.base import dump_json
from evented_agent.chunks.json_values import MOST_DEPTH, NotJson, as_json, for_log
from tests.support.servers import RedisServer

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.just("\ud800")
    | st.just(10**400)
    | st.sets(st.integers())
    | st.dates()
    | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(anything)
def test_what_enters_is_read_back_equal_by_every_reader(value: Any) -> None:
    try:
        entered = as_json(value)
    except NotJson as error:
        assert str(error).isprintable()  # noqa: PT017 - or it is read back
        return
    stored = dump_json(entered)
    assert stored == dump_json(json.loads(stored)) == dump_json(pydantic_core.from_json(stored))
    assert json.loads(stored) == pydantic_core.from_json(stored.encode()) == entered


@given(json_like)
def test_json_itself_enters_as_it_is(value: Any) -> None:
    assert as_json(value) == value


def nested(depth: int, *, wide: bool = False) -> Any:
    value: Any = "core"
    for level in range(depth):
        value = {"in": value} if wide or level % 2 else [value]
    return value


SAMPLES = [
    None, True, 0, -1, 10**13, 0.1, -1.5e300, "", "é\u2028\x00\n\U0001f600", [1, [2, ["x"]]],
    {"a": {"b": [None, False]}, "": "empty", "\x7f": "odd"}, nested(MOST_DEPTH),
    nested(MOST_DEPTH, wide=True), [[1] * 1000] * 10,
]  # fmt: skip


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: repr(value)[:20])
def test_the_scripts_of_the_server_read_it_too(value: Any, redis_server: RedisServer) -> None:
    entered = as_json(value)
    with redis.Redis.from_url(redis_server.url) as client:
        again = client.eval("return cjson.encode({cjson.decode(ARGV[1])})", 0, dump_json([entered]))

    assert json.loads(again) == [[value]]


@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)
    on: datetime.date = datetime.date(2030, 1, 2)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Order(pydantic.BaseModel):
    id: uuid.UUID
    prices: dict[int, Decimal]


Pair = namedtuple("Pair", "a b")


class Array:
    """As numpy's arrays and scalars look from outside."""

    def __init__(self, plain: Any, kind: str = "f") -> None:
        self.plain = plain
        self.dtype = type("dtype", (), {"kind": kind})

    def tolist(self) -> Any:
        return self.plain

    def astype(self, _type: type) -> "Array":
        return Array("2030-01-02T00:00:00.000000000")


ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("value", "entered"),
    [
        (datetime.date(2030, 1, 2), "2030-01-02"),
        (datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC), "2030-01-02T00:00:00Z"),
        (datetime.timedelta(hours=1), "PT1H"),
        (Decimal("1.10"), "1.10"),
        (ID, str(ID)),
        (Path("/a"), "/a"),
        (Point(1), {"x": 1, "tags": [], "on": "2030-01-02"}),
        ([Colour.RED, Level.LOW], ["red", 1]),
        ({Colour.RED: 1}, {"red": 1}),
        (Loud("kept"), "kept"),
        (Pair(1, (2, 3)), [1, [2, 3]]),
        (deque([1]), [1]),
        (range(2), [0, 1]),
        ({"k": 1}.keys(), ["k"]),
        (MappingProxyType({"a": b"text"}), {"a": "text"}),
        (bytearray(b"\xff\xfe"), "__4="),
        (Order(id=ID, prices={1: Decimal("2.5")}), {"id": str(ID), "prices": {"1": "2.5"}}),
        (Array([[1.5, 2.0]]), [[1.5, 2.0]]),
        ({"n": Array(3, "i")}, {"n": 3}),
        (Array(0, "M"), "2030-01-02T00:00:00.000000000"),
    ],
)
def test_common_types_become_what_stands_for_them(value: Any, entered: Any) -> None:
    assert as_json(value) == entered


class Hostile:
    @property
    def tolist(self) -> Any:
        raise RuntimeError("no\nway \ud800")


class Endless:
    def tolist(self) -> Any:
        return self


def circle() -> Any:
    made: list[Any] = []
    made.append({"in": made})
    return made


def laughs() -> Any:
    made: Any = ["ha"] * 1_000
    for _ in range(60):
        made = [made, made]
    return made


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": [1, math.nan]}, r"Out of range float nan \(at a\.1\)"),
        (Decimal("Infinity"), "Out of range Decimal"),
        (10**309, "too large"),
        (Array([math.inf]), "Out of range float inf"),
        (Array(1, "m"), "of durations"),
        (Array(1j), "complex"),
        ({"a": {1, 2}}, r"a set has no order.*\(at a\)"),
        (frozenset(), "a frozenset has no order"),
        ({1: 1}, "the key 1 is no text"),
        ({None: 1}, "the key None is no text"),
        ({(1, 2): 1}, "no text"),
        (nested(MOST_DEPTH + 1), "nested more than 64 deep"),
        (circle(), "nested more than 64 deep"),
        (laughs(), "more than 2,000,000 values"),
        (["x" * 2**20] * 65, "more than 67,108,864 characters"),
        ({"a\ud800": 1}, "surrogates"),
        (object(), "object"),
        (Endless(), "gives no plain list"),
        (Hostile(), r"no\\nway"),
        ({"z": 1j}, "complex"),
        (len, "builtin"),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, str) else "",
)
def test_what_some_reader_would_get_changed_is_refused(value: Any, why: str) -> None:
    with pytest.raises(NotJson, match=why):
        as_json(value)


def test_what_numpy_holds_enters() -> None:
    value = {"a": numpy.arange(3), "b": numpy.float32(0.5), "c": numpy.bool_(True)}

    assert as_json(value) == {"a": [0, 1, 2], "b": 0.5, "c": True}
    with pytest.raises(NotJson, match="Out of range float nan"):
        as_json(numpy.array([numpy.nan]))


def test_foreign_text_is_one_short_line_of_a_log() -> None:
    shown = for_log("a\r\nERROR forged \x1b[31m\u2028\u202e\ud800" + "x" * 400_000)

    assert shown.startswith(r"a\r\nERROR forged \x1b[31m\u2028\u202e\ud800xxx")
    assert shown.isprintable()
    assert len(shown) < 400


PNG = b"\x89PNG\r\n\x1a\n\xfb\xff"


class Anything(pydantic.BaseModel):
    value: Any


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (PNG, {"type": "image", "url": "data:image/png;base64,iVBORw0KGgr7/w=="}),
        (
            ["Look:", memoryview(b"\xff\xd8\xff\xe0")],
            ["Look:", {"type": "image", "url": "data:image/jpeg;base64,/9j/4A=="}],
        ),
        (b"RIFF\0\0\0\0WEBP", {"type": "image", "url": "data:image/webp;base64,UklGRgAAAABXRUJQ"}),
        (b"plain", "plain"),
        (Anything(value=numpy.int64(3)), {"value": 3}),
        (Anything(value=[numpy.array([1.5])]), {"value": [[1.5]]}),
    ],
)
def test_bytes_and_what_models_hold_are_converted(given: Any, made: Any) -> None:
    assert as_json(given) == made


def test_what_a_model_holds_and_nobody_knows_is_refused() -> None:
    with pytest.raises(NotJson, match="a object has no JSON form"):
        as_json(Anything(value=object()))
