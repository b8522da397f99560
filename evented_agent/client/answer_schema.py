"""Whether an answer fits the JSON schema that a tool asked it by, in bounded time.

Schemas come from a record, and answers from whoever may resume: no pattern may compute for long,
and nothing is ever fetched.  Pure: does no I/O.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema
import referencing
from pydantic_core import SchemaError, SchemaValidator, core_schema

#: Most characters of a text that a pattern is compared with.
MOST_MATCHED = 32 * 1024
#: Most problems that are looked for, and that are told.
_MOST_FOUND, _MOST_TOLD = 100, 5

_Problems = Iterator[jsonschema.ValidationError]


class UncheckableSchema(ValueError):
    """Raised for a schema by which nothing can be checked here; the text says why."""


def schema_problems(schema: Mapping[str, Any], data: Any) -> Sequence[str]:
    """What of *data* does not fit *schema*, a line each.

    A pattern that only a backtracking engine could compare is left out.  Raises
    `UncheckableSchema`, for a reference to elsewhere too.
    """
    checker = _Loose if '"patternProperties"' in json.dumps(schema) else _Strict
    # An empty registry finds what is in the schema itself, and retrieves nothing.
    validator = checker(_without_dialects(schema), registry=referencing.Registry())
    try:
        found = sorted(
            islice(validator.iter_errors(data), _MOST_FOUND),
            key=lambda error: list(map(str, error.path)),
        )
    except Exception as error:
        why = f"{type(error).__name__}: {str(error)[:200]}"
        raise UncheckableSchema(f"its schema cannot be applied here ({why})") from error
    places = [("/".join(map(str, error.path)) or "the answer") for error in found[:_MOST_TOLD]]
    return [f"{where}: {error.message[:200]}" for where, error in zip(places, found, strict=False)]


def _without_dialects(node: Any) -> Any:
    """A schema in which no part chooses a checker of its own."""
    if isinstance(node, list):
        return [_without_dialects(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _without_dialects(each)
        for name, each in node.items()
        if not (name == "$schema" and isinstance(each, str))
    }


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str], bool] | None:
    """A comparison in linear time; None for a pattern that has none, such as one with lookahead."""
    try:
        schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
        return SchemaValidator(schema).isinstance_python
    except SchemaError:
        return None


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> _Problems:
    if not isinstance(instance, str):
        return
    if len(instance) > MOST_MATCHED:
        problem = f"has {len(instance):,} characters; a pattern takes {MOST_MATCHED:,} at most"
        yield jsonschema.ValidationError(problem)
        return
    matches = _matcher(pattern)
    if matches is not None and not matches(instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _is_named(name: str, patterns: Mapping[str, Any]) -> bool:
    """Whether a property is one of those that *patterns* are about; in doubt it is."""
    matchers = [_matcher(pattern) for pattern in patterns]
    return any(len(name) <= MOST_MATCHED and (not match or match(name)) for match in matchers)


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any
) -> _Problems:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        matches = _matcher(pattern)
        for name, value in instance.items():
            if matches is not None and len(name) <= MOST_MATCHED and matches(name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, schema: Any, instance: Any, parent: Mapping[str, Any]
) -> _Problems:
    if not isinstance(instance, dict):
        return
    known, patterns = parent.get("properties", {}), parent.get("patternProperties", {})
    extras = [name for name in instance if name not in known and not _is_named(name, patterns)]
    if isinstance(schema, dict):
        for name in extras:
            yield from validator.descend(instance[name], schema, path=name)
    elif not schema and extras:
        names = ", ".join(map(repr, extras[:_MOST_TOLD]))
        were = "was" if len(extras) == 1 else "were"
        problem = f"Additional properties are not allowed ({names} {were} unexpected)"
        yield jsonschema.ValidationError(problem)


def _unique_items(_validator: Any, is_wanted: Any, instance: Any, _schema: Any) -> _Problems:
    if not is_wanted or not isinstance(instance, list):
        return
    # Compared as text: in pairs it would take a square of the time.
    if len({json.dumps(each, sort_keys=True) for each in instance}) < len(instance):
        yield jsonschema.ValidationError("has non-unique elements")


def _nothing(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> _Problems:
    yield from ()


_CHECKS: dict[str, Any] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
_extend: Any = jsonschema.validators.extend
_Strict = _extend(jsonschema.Draft202012Validator, _CHECKS)
#: Beside patterns for names the original compares all of them in its own way.
_Loose = _extend(jsonschema.Draft202012Validator, {**_CHECKS, "unevaluatedProperties": _nothing})
