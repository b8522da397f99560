"""What the rehearsed model says: a function of the conversation.  Does no I/O.

It has no memory, so any server process gives the same answer to the same conversation; what it
decides comes from the real results of the real tools.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

INVOICE, RECIPE, TOTAL, UNPAID = "Invoice no.", "Ingredients:", "Total:", "unpaid"

Call = tuple[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class RehearsedReply:
    """One turn: some text, then tool calls as name and arguments."""

    text: str
    calls: Sequence[Call] = ()


@dataclass(slots=True)
class Known:
    """What the tools have returned so far.

    *found* holds the matching line of each file, by the text that was searched for.
    """

    files: list[str] = field(default_factory=list)
    found: dict[str, dict[str, str]] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)
    indexed: str = ""

    def paths(self, kind: str) -> list[str]:
        return [path for path in self.files if self.kind(path) == kind]

    def kind(self, path: str) -> str:
        if path in self.found.get(INVOICE, {}):
            return "invoices"
        if path in self.found.get(RECIPE, {}):
            return "recipes"
        return "letters" if self.read.get(path, "").startswith("Dear ") else "notes"


def reply_to(messages: Sequence[Mapping[str, Any]]) -> RehearsedReply:
    """Return the next turn of a conversation in the form of the Chat Completions API."""
    turn = sum(message.get("role") == "assistant" for message in messages)
    known = _known(messages)
    # Notices come as what a user says to servers that nobody knows.
    if turn and messages[-1].get("role") != "tool":
        return RehearsedReply(f"The index is written, too: it has {known.indexed} files.")
    return (_look, _read, _move, _report, _meanwhile)[min(turn, 4)](known)


def _look(_: Known) -> RehearsedReply:
    calls: list[Call] = [
        ("list_files", {}),
        ("search_text", {"text": INVOICE}),
        ("search_text", {"text": RECIPE}),
    ]
    return RehearsedReply(
        "Let me see what lies there, and which files are invoices or recipes.", calls
    )


def _read(known: Known) -> RehearsedReply:
    matched = {*known.found.get(INVOICE, {}), *known.found.get(RECIPE, {})}
    calls: list[Call] = [
        ("read_file", {"path": path}) for path in known.files if path not in matched
    ]
    text = f"{len(calls)} files match neither; I read those, and add up the invoices."
    calls += [("search_text", {"text": TOTAL}), ("search_text", {"text": UNPAID})]
    return RehearsedReply(text, calls)


def _move(known: Known) -> RehearsedReply:
    calls: list[Call] = [
        ("move_file", {"path": path, "folder": known.kind(path)}) for path in known.files
    ]
    return RehearsedReply(
        f"Now I know all {len(calls)} of them, and put each where it belongs.", calls
    )


def _report(known: Known) -> RehearsedReply:
    bills = known.paths("invoices")
    unpaid = [path for path in bills if path in known.found.get(UNPAID, {})]
    text = REPORT.format(
        files=len(known.files),
        moved=len(known.moved),
        invoices=_named(bills),
        total=_sum(known, bills),
        unpaid=_named(unpaid),
        unpaid_total=_sum(known, unpaid),
        recipes=_named(known.paths("recipes")),
        letters=_named(known.paths("letters")),
        notes=_named(known.paths("notes")),
    )
    return RehearsedReply(text, [("write_index", {})])


def _meanwhile(_: Known) -> RehearsedReply:
    return RehearsedReply("An index is being written; ask me anything meanwhile.")


REPORT = """\
Your folder is tidy. I found {files} files side by side, most of them with names that say little, \
so I looked inside each one before I decided where it belongs. {moved} files have a new place; \
every one has kept its name, and nothing was changed or thrown away.

The invoices are {invoices}. Together they come to EUR {total}. Still open are {unpaid}, which \
add up to EUR {unpaid_total}; please pay those first, because both name a date and reminders cost \
extra. The others are marked as paid and only wait for the next tax return.

The recipes are {recipes}. All of them list their ingredients near the top, which is how I \
recognised them, although you would never guess it from the names of the files. They deserve a \
printed copy beside the stove.

{letters} begin with a greeting, so they are with the letters now. I have read no further than I \
had to. If one of them has not been sent yet, this may be a good evening for it.

What remained are your notes: {notes}. They are short, they concern nobody else, and they are what \
you will look for first on a Monday morning.

Three suggestions for the months to come. Give a scan a proper name on the day it arrives, while \
you still remember what it is. Keep open invoices apart from those that are paid. And come back \
to this folder every other week: a dozen files are a pleasant quarter of an hour, a few hundred \
would be a chore."""


def _known(messages: Sequence[Mapping[str, Any]]) -> Known:
    known = Known()
    calls: dict[str, Call] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call["function"]
            calls[call["id"]] = (function["name"], json.loads(function["arguments"]))
        if message.get("role") == "tool":
            _learn(known, calls[message["tool_call_id"]], message["content"])
    return known


def _learn(known: Known, call: Call, content: str) -> None:
    name, arguments = call
    match name:
        case "list_files":
            known.files = [row["path"] for row in _rows(content)]
        case "search_text":
            lines = {row["path"]: row["text"] for row in _rows(content)}
            known.found[arguments["text"]] = lines
        case "read_file":
            known.read[arguments["path"]] = content
        case "move_file" if not content.startswith('{"error"'):
            known.moved.append(content)
        case "write_index":
            known.indexed = content


def _rows(content: str) -> list[dict[str, Any]]:
    rows = json.loads(content)
    return rows if isinstance(rows, list) else []


def _named(paths: Sequence[str]) -> str:
    names = [path.rpartition("/")[2].removesuffix(".txt") for path in paths]
    *first, last = names or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


def _sum(known: Known, paths: Sequence[str]) -> str:
    lines = [known.found.get(TOTAL, {}).get(path, "") for path in paths]
    amounts = [float(amount) for line in lines for amount in re.findall(r"\d+\.\d\d", line)]
    return f"{sum(amounts):.2f}"
