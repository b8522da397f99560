"""TypedDicts of `typing`, which pydantic reads from Python 3.12 on only, made readable before."""

import operator
import sys
import types
import typing
from typing import Annotated, Any, cast

import typing_extensions


def readable(annotation: Any) -> Any:
    """*annotation* with each `typing.TypedDict` in it as one of typing_extensions; else itself."""
    return annotation if sys.version_info >= (3, 12) else _converted(annotation, {})


def _converted(annotation: Any, known: dict[Any, Any]) -> Any:
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        return _typed_dict(annotation, known)
    parts = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if not parts or origin is None or origin is typing.Literal:
        return annotation
    made = tuple(
        tuple(_converted(each, known) for each in part)
        if isinstance(part, list)
        else _converted(part, known)
        for part in parts
    )
    if made == parts:
        return annotation
    if origin is Annotated:
        return operator.getitem(cast(Any, Annotated), (made[0], *parts[1:]))
    if origin in (typing.Union, types.UnionType):
        return operator.getitem(cast(Any, typing.Union), made)
    return operator.getitem(origin, made if len(made) > 1 else made[0])


def _typed_dict(declared: Any, known: dict[Any, Any]) -> Any:
    if declared in known:
        # It contains itself: pydantic resolves the name.
        return known[declared]
    known[declared] = declared
    hints = typing.get_type_hints(declared, include_extras=True)
    fields = {}
    for name, hint in hints.items():
        is_required = name in declared.__required_keys__
        marker: Any = typing_extensions.Required if is_required else typing_extensions.NotRequired
        fields[name] = operator.getitem(marker, _converted(_unmarked(hint), known))
    made = cast(Any, typing_extensions.TypedDict)(declared.__name__, fields)
    made.__doc__, made.__module__ = declared.__doc__, declared.__module__
    known[declared] = made
    return made


def _unmarked(hint: Any) -> Any:
    marked = typing.get_origin(hint) in (typing.Required, typing.NotRequired)
    return typing.get_args(hint)[0] if marked else hint
