"""What may enter: the one check of values that are stored, and what is made of foreign text.

A value that `as_json` returned is read back equal by whoever reads it: Python, pydantic, the
scripts in Redis and browsers.  Imports no other module of the library.
"""

import base64
import dataclasses
import enum
import math
from collections import deque
from collections.abc import ItemsView, Iterable, KeysView, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from decimal import Decimal
from types import GeneratorType
from typing import Any

import pydantic_core

#: Most levels of lists and objects in one value; the strictest reader takes about 200, all told.
MOST_DEPTH = 64
#: Most values, and characters of text, in one; what repeats itself would have no end.
MOST_VALUES, MOST_TEXT = 2_000_000, 64 * 1024 * 1024
#: Whole numbers beyond this are no finite number for readers that have floats only.
_MOST_NUMBER = int(1.7976931348623157e308)

_LISTS = (list, tuple, deque, range, KeysView, ValuesView, ItemsView, GeneratorType)


class NotJson(ValueError):
    """Raised for a value that JSON cannot hold, or that some reader would get changed."""


def as_json(value: object, *, wrapped: int = 0) -> Any:
    """Return *value* as plain JSON data: dict, list, str, int, float, bool, None.

    Numbers are finite, keys and all text are well-formed text, and nothing is nested more than
    `MOST_DEPTH` deep (*wrapped* levels more, where the value is inside a form of ours).

    Enums become their values, dataclasses and named tuples what they hold, pydantic models and
    types their JSON form, dates and times ISO 8601, decimals and UUIDs text, bytes of an image
    ``{"type": "image", "url": "data:…"}``, which models see as one, other bytes the text that they
    are in UTF-8 or else URL-safe base64, numpy's scalars and arrays numbers and lists. Sets, keys
    that are no text, NaN and infinity are refused: no reader would get them back.

    Raises `NotJson`, which says where.
    """
    walk = _Walk(MOST_DEPTH + wrapped)
    try:
        return walk.take(value, 0)
    except _Problem as problem:
        raise NotJson(problem.text()) from problem.__cause__
    except RecursionError:
        raise NotJson("it is nested too deep") from None


def without_surrogates(text: str) -> str:
    """*text* with half surrogate pairs replaced, which UTF-8 cannot encode."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def error_text(error: BaseException) -> str:
    """The text of a user's exception, which may fail to have one."""
    try:
        return without_surrogates(str(error))
    except Exception:  # noqa: BLE001 - its own `__str__` fails
        return "(an exception without a text)"


def for_log(text: str, most: int = 300) -> str:
    """Foreign *text* on one line, cut where it is long, with controls made visible."""
    cut = text if len(text) <= most else f"{text[:most]}…"
    return cut if cut.isprintable() else "".join(map(_visible, cut))


def _visible(sign: str) -> str:
    return sign if sign.isprintable() else repr(sign)[1:-1]


class _Problem(Exception):
    """A value that is refused, and where it is, from the inside out."""

    def __init__(self, why: str) -> None:
        self.why = why
        self.path: list[str] = []

    def text(self) -> str:
        if not self.path:
            return self.why
        place = ".".join(for_log(part, 40) for part in self.path[::-1][:12])
        return f"{self.why} (at {place})"


class _Walk:
    """One pass over a value."""

    def __init__(self, most_depth: int) -> None:
        self._most_depth = most_depth
        self._values = 0
        self._characters = 0

    def take(self, value: Any, depth: int) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise _Problem(f"it has more than {MOST_VALUES:,} values")
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind is int or kind is float:
            return _number(value)
        return self._compound(value, depth)

    def _compound(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._object(value.items(), depth)
        if isinstance(value, _LISTS):
            return self._list(value, depth)
        if dataclasses.is_dataclass(value) and not _is_of_pydantic(value):
            names = (field.name for field in dataclasses.fields(value))
            return self._object(((name, getattr(value, name)) for name in names), depth)
        return self.take(_converted(value), depth)

    def _object(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        self._check_depth(depth)
        made: dict[str, Any] = {}
        for key, each in items:
            name = self._key(key)
            try:
                made[name] = self.take(each, depth + 1)
            except _Problem as problem:
                problem.path.append(name)
                raise
        return made

    def _list(self, items: Iterable[Any], depth: int) -> list[Any]:
        self._check_depth(depth)
        made: list[Any] = []
        for each in items:
            try:
                made.append(self.take(each, depth + 1))
            except _Problem as problem:
                problem.path.append(str(len(made)))
                raise
        return made

    def _check_depth(self, depth: int) -> None:
        if depth >= self._most_depth:
            raise _Problem(f"it is nested more than {MOST_DEPTH} deep")

    def _key(self, key: Any) -> str:
        name = key.value if isinstance(key, enum.Enum) else key
        if not isinstance(name, str):
            shown = for_log(repr(key), 60)
            raise _Problem(f"the key {shown} is no text; use str(…) where it is meant as text")
        return self._text(str.__str__(name))

    def _text(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > MOST_TEXT:
            raise _Problem(f"it has more than {MOST_TEXT:,} characters")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                half = text[error.start]
                raise _Problem(f"lone surrogates are no characters, and it has {half!r}") from None
        return text


def _number(value: float) -> float:
    if type(value) is int:
        if -_MOST_NUMBER <= value <= _MOST_NUMBER:
            return value
        raise _Problem("a whole number is too large for a finite number of other readers")
    if math.isfinite(value):
        return value
    raise _Problem(f"Out of range float {value!r}")


def _is_of_pydantic(value: Any) -> bool:
    return hasattr(type(value), "__pydantic_serializer__")


def _converted(value: Any) -> Any:
    """A value that is none of JSON's own, one step nearer to that."""
    if isinstance(value, enum.Enum):
        return value.value
    # The constructors could be overridden by the subclass; these cannot.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float):
        return int.__int__(value) if isinstance(value, int) else float.__float__(value)
    if isinstance(value, AbstractSet):
        raise _Problem(f"a {type(value).__name__} has no order; use sorted(…) or list(…)")
    try:
        return _foreign(value)
    except _Problem:
        raise
    except Exception as error:
        # Attributes and serializers may be user code: whatever they raise is about the value.
        raise _Problem(for_log(error_text(error) or type(error).__name__)) from error


def _foreign(value: Any) -> Any:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise _Problem(f"Out of range Decimal {value}")
        return str(value)
    if isinstance(value, complex):
        raise _Problem("a complex number is no number of JSON")
    if isinstance(value, bytes | bytearray | memoryview):
        return _of_bytes(bytes(value))
    if callable(getattr(value, "tolist", None)) and not _is_of_pydantic(value):
        return _of_array(value)
    try:
        return pydantic_core.to_jsonable_python(value, bytes_mode="utf8", fallback=_inside)
    except UnicodeDecodeError:
        return pydantic_core.to_jsonable_python(value, bytes_mode="base64", fallback=_inside)


def _inside(value: Any) -> Any:
    """What pydantic does not know, inside of a model."""
    if callable(getattr(value, "tolist", None)):
        return _of_array(value)
    raise _Problem(f"a {type(value).__name__} has no JSON form")


#: How files of images begin, and what they are called.
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)


def _of_bytes(value: bytes) -> Any:
    """An image as the part of a message that shows it; else text, or URL-safe base64."""
    kind = next((kind for start, kind in _IMAGES if value.startswith(start)), None)
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        kind = "webp"
    if kind is not None:
        encoded = base64.b64encode(value).decode()
        return {"type": "image", "url": f"data:image/{kind};base64,{encoded}"}
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.urlsafe_b64encode(value).decode()


def _of_array(value: Any) -> Any:
    """A scalar or an array of numpy, or of a library that copies it, which is not imported."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "m":
        raise _Problem(f"a {type(value).__name__} of durations has a unit that JSON would lose")
    # Nanoseconds would become whole numbers.
    made = (value.astype(str) if kind == "M" else value).tolist()
    if type(made) is type(value) or callable(getattr(made, "tolist", None)):
        raise _Problem(f"{type(value).__name__} gives no plain list")
    return made
