"""What commands print: results on stdout, everything else on stderr."""

import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import click
import pydantic_core
from pydantic import BaseModel

from evented_agent.agents.tools.approvals import CallDecision
from evented_agent.models.cost import Cost, RunsCost, usd_text

#: The longest argument, result or error in a line for people.
SHORT = 200

#: A run id that the library made.
_MADE_ID = re.compile("[0-9a-f]{32}")

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=str).encode
#: What a model or a tool wrote must not steer the terminal, or read otherwise than it is: controls,
#: marks that turn the direction of text, and signs that nobody sees.
_CONTROLS = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


class Printer:
    """Prints for people, or one JSON object a line; notes are left out when *is_quiet*."""

    def __init__(
        self, *, is_json: bool = False, is_quiet: bool = False, is_plain: bool = False
    ) -> None:
        self.is_json = is_json
        self._is_quiet = is_quiet
        self._is_plain = is_plain or is_json or bool(os.environ.get("NO_COLOR"))
        self._is_mid_line = False
        self._is_after_note = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A lone surrogate, or a terminal that shows only ASCII, must not end a command.
                stream.reconfigure(errors="backslashreplace")

    def note(self, text: str) -> None:
        """Print progress, unless --quiet."""
        if not self._is_quiet:
            self.warn(self._styled(sys.stderr, printable(text), dim=True))

    def warn(self, text: str) -> None:
        """Print what matters also with --quiet."""
        if sys.stdout.isatty() and sys.stderr.isatty():
            self.end_text()
            self._is_after_note = True
        click.echo(text, err=True, color=True)

    def text(self, piece: str) -> None:
        """Print a piece of a text that goes on."""
        if self._is_after_note:
            # Notes stand between the paragraphs on this screen.
            piece = piece.lstrip("\n")
        if not piece:
            return
        self._is_after_note = False
        self._is_mid_line = not piece.endswith("\n")
        print(printable(piece), end="", flush=True)

    def end_text(self) -> None:
        """End the line that `text` has begun."""
        if self._is_mid_line:
            self.text("\n")

    def line(self, text: str = "") -> None:
        self.text(f"{text}\n")

    def record(self, record: Mapping[str, Any]) -> None:
        """Print one JSON object on one line."""
        self.line(json_line(_dumps(record)))

    def pairs(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Print names and values, one a line; those without a value are left out.

        What a value has in further lines stands below it, so that none looks like a pair.
        """
        for name, value in pairs:
            if value not in (None, ""):
                self.line(f"{name:<12}{value}".replace("\n", f"\n{'':12}"))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print columns: with rich if it is installed and stdout is a terminal, else plain."""
        rows = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
        if sys.stdout.isatty() and not self._is_plain and _rich_table(headers, rows):
            return
        lines = [headers, *rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            self.line("  ".join(cells).rstrip())

    def _styled(self, stream: TextIO, text: str, **style: bool) -> str:
        return text if self._is_plain or not stream.isatty() else click.style(text, **style)


def to_json(value: object) -> Any:
    """Return a result as JSON: the names of its attributes, ISO times, nothing for None."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value):
        fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {name: to_json(item) for name, item in fields if item is not None}
    return value


def cost_line(cost: Cost | None) -> str | None:
    """What was priced, and how many calls were not; None where nothing was."""
    if cost is None:
        return None
    if cost.is_complete:
        return usd_text(cost)
    calls = cost.priced_calls + cost.unpriced_calls
    return f"{usd_text(cost)} (the price of {cost.unpriced_calls} of {calls} calls is unknown)"


def runs_cost_line(found: RunsCost) -> str | None:
    """What several runs cost, and which of them that is without; None where nothing is known."""
    told = [cost_line(found.cost) or ("unknown" if found.unpriced_runs else None)]
    if unpriced := found.unpriced_runs:
        were = "was" if unpriced == 1 else "were"
        told.append(f"{unpriced} of {found.runs} runs {were} not priced")
    if found.next_page is not None:
        told.append(f"the newest {found.runs} runs are added up")
    return "; ".join(filter(None, told)) if told[0] else None


def printable(text: str) -> str:
    """Return *text* with each sign that steers a terminal, or hides in it, as a visible escape."""
    return _CONTROLS.sub(lambda found: _escaped(found[0]), text)


def _escaped(sign: str) -> str:
    code = ord(sign)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_line(line: str) -> str:
    """The same JSON, with such signs as JSON's own escapes; they can only be inside of texts."""
    return _CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], line)


def short(value: object) -> str:
    """Return *value* in one line of at most `SHORT` characters."""
    text = on_one_line(value)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def on_one_line(value: object) -> str:
    """Return all of *value* in one line."""
    text = value if isinstance(value, str) else _dumps(value)
    return " ".join(printable(text).split())


def call_line(tool: str, arguments: Mapping[str, Any], *, is_whole: bool = False) -> str:
    """A tool call as people write it; all of it, or in one line of a bounded length."""
    text = ", ".join(f"{name}={_dumps(value)}" for name, value in arguments.items())
    return f"> {on_one_line(tool)}({(on_one_line if is_whole else short)(text)})"


def decided_line(decision: CallDecision) -> str:
    """Who decided what about a call, and when."""
    by = f" by {decision.by}" if decision.by else ""
    at = decision.at.astimezone().isoformat(sep=" ", timespec="seconds")
    return printable(f"{decision.tool_call_id} was {decision.decision}{by} at {at}")


def short_ids(ids: Sequence[str], *, least: int) -> dict[str, str]:
    """For each id the shortest beginning, of *least* signs or more, that no other of *ids* has.

    Ids that people chose stay as they are.
    """
    short_of = {}
    for each in ids:
        length = least if _MADE_ID.fullmatch(each) else len(each)
        while any(other.startswith(each[:length]) for other in ids if other != each):
            length += 1
            if length >= len(each):
                break
        short_of[each] = each[:length]
    return short_of


def json_value(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    """The value of an option that is JSON; None where it was not given."""
    if value is None:
        return None
    try:
        return pydantic_core.from_json(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not JSON: {error}") from None


def ago(then: datetime) -> str:
    """How long ago *then* was, in its largest unit."""
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(*headers, box=None, pad_edge=False)
    for row in rows:
        # Text, because a cell's brackets are no markup.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
    return True
