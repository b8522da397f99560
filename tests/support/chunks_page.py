"""docs/chunks.md, made from the classes: ``python -m tests.support.chunks_page`` writes it."""

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from evented_agent.chunks import AnyChunk, Chunk, Other, Payload
from evented_agent.chunks.base import stored_names

PAGE = Path(__file__).parent.parent.parent / "docs" / "chunks.md"
FAMILIES = {
    "run": "The run and its steps",
    "text": "Text",
    "tools": "Tools",
    "background": "Background calls",
    "inbox": "Messages",
    "children": "Child runs",
}
HEAD = """\
# What streams hold

Made from the classes of `evented_agent.chunks` (`python -m tests.support.chunks_page`): change
those.

A chunk on the wire, in `sse()` and `json_line()`, is one JSON object:

```text
{"seq": 7, "type": "text-delta", "runId": "…", "from": "AGENT", "task": "1:model",
 "payload": {…}}
```

`seq` counts 1, 2, 3 … without gaps, `task` is the piece of the run that said it (not all have
one), and the event's `id`, in Python `chunk.cursor`, is what `observe(run_id, after=…)` takes.
Below are the names on the wire; in Python they are in snake_case (`chunk.payload.tool_call_id`),
and `args` is `arguments`. A chunk of a type that is not below is of a newer version: pass over it.

A run is `start`, then for each step `step-start`, the parts of the answer, its calls and their
results, `step-finish`, and at last one of `finish`, `error`, `abort`. `run-waiting` says what a run
waits for; it is the last one while only people can go on.
"""


def page() -> str:
    """The text of the page."""
    classes = [each for each in chunk_classes() if each is not Other]
    lines = [HEAD]
    for family, title in FAMILIES.items():
        lines.append(f"## {title}\n")
        for each in classes:
            if each.__module__.endswith(f".{family}"):
                lines.extend(_section(each))
    return "\n".join(lines).rstrip() + "\n"


def chunk_classes() -> list[type[Chunk]]:
    """All classes of chunks, in the order of their definition."""
    found: list[type[Chunk]] = []
    for each in _leaves(AnyChunk):
        if each not in found:
            found.append(each)
    return sorted(found, key=lambda each: (each.__module__, inspect.getsourcelines(each)[1]))


def _leaves(kind: Any) -> Iterator[type[Chunk]]:
    if isinstance(kind, type) and issubclass(kind, Chunk):
        yield kind
        return
    for argument in typing.get_args(getattr(kind, "__value__", kind)):
        yield from _leaves(argument)


def _section(each: type[Chunk]) -> Iterator[str]:
    [name] = typing.get_args(typing.get_type_hints(each)["type"])
    yield f"### `{name}`\n"
    yield f"{_summary(each)} In Python: `{each.__name__}`.\n"
    payload = typing.get_type_hints(each)["payload"]
    if inspect.isclass(payload) and issubclass(payload, Payload):
        yield "| payload | | |"
        yield "| --- | --- | --- |"
        yield from _rows(payload, "")
        yield ""


def _rows(payload: type[Payload], prefix: str) -> Iterator[str]:
    told = _attributes(payload)
    names = stored_names(payload)
    for name, field in payload.model_fields.items():
        kind = field.annotation
        wire = f"{prefix}{names[name]}"
        optional = "" if field.is_required() else "?"
        yield f"| `{wire}{optional}` | {_kind(kind)} | {_cell(told.get(name, ''))} |"
        inner = [each for each in (kind, *typing.get_args(kind)) if _is_payload(each)]
        for each in inner:
            yield from _rows(each, f"{wire}.")


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("``", "`")


def _is_payload(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Payload)


def _kind(kind: Any) -> str:
    """A type as readers of JSON call it."""
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(each) for each in typing.get_args(kind)))
    if typing.get_origin(kind) is Literal:
        return " or ".join(f'"{each}"' for each in typing.get_args(kind))
    plain = typing.get_origin(kind) or kind
    names = {str: "text", int: "number", float: "number", bool: "true or false", NoneType: "null"}
    if plain in names:
        return names[plain]
    if inspect.isclass(plain) and (plain is dict or _is_payload(plain)):
        return "object"
    if plain in (list, tuple) or getattr(plain, "__name__", "") == "Sequence":
        return "list"
    return "object" if getattr(plain, "__name__", "") == "Mapping" else "JSON"


def _summary(each: type) -> str:
    text = inspect.getdoc(each) or ""
    before = text.partition("Attributes:")[0]
    return " ".join(before.split())


def _attributes(payload: type) -> dict[str, str]:
    """What the docstrings of a payload and of its bases say of each field."""
    told: dict[str, str] = {}
    for base in reversed(payload.__mro__):
        text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:")[2]
        name = ""
        for line in text.splitlines():
            indent = len(line) - len(line.lstrip())
            if indent == 4 and ":" in line:
                name, _, rest = line.strip().partition(":")
                told[name] = rest.strip()
            elif name and line.strip():
                told[name] += f" {line.strip()}"
    return told


if __name__ == "__main__":
    PAGE.write_text(page())
