"""The demo's agent: a librarian with five real tools on one folder.

The folder comes with each run, as ``context={"directory": …, "calls": …}``; ``calls`` is the file
in which every execution of a tool leaves a line.
"""

import os
import time
from pathlib import Path
from typing import Any

from evented_agent import Agent, ToolContext, tool

INSTRUCTIONS = """\
You are a librarian who tidies a folder of small text files.
Before each round of tool calls say in one short sentence what you are about to do.
1. List the files, and search or read them until you know what each one is. Where calls do not
   depend on each other, make them all in the same turn.
2. Move every file into a folder of its kind, such as invoices, recipes, letters or notes. Make
   all moves in one turn.
3. Then report to the owner in flowing prose of about 250 words, without lists or headings: what
   was there, where it is now, what the open invoices add up to, and what you would do next.
   In the same turn call write_index once. It works in the background: when you are told that it
   has completed, say in one sentence what came of it."""

REQUEST = "Please tidy my folder, and tell me what you found."

#: The most that one result may bring into the conversation.
MOST_CHARACTERS, MOST_MATCHES = 20_000, 100
#: Seconds that the index takes for each file.
SCAN = 0.1


def make_librarian(model: str) -> Agent:
    """Return the agent; callers and workers make it alike."""
    return Agent(
        id="librarian",
        instructions=INSTRUCTIONS,
        model=model,
        tools=[list_files, search_text, read_file, move_file, write_index],
        max_steps=15,
    )


@tool
def list_files(ctx: ToolContext) -> list[dict[str, Any]]:
    """List all files of the folder, each with its path and its size in bytes."""
    _note(ctx)
    root = _root(ctx)
    return [{"path": _name(root, file), "bytes": file.stat().st_size} for file in _files(root)]


@tool
def search_text(ctx: ToolContext, text: str) -> list[dict[str, Any]]:
    """Find the lines of all files that contain a text, in upper or lower case; no pattern."""
    _note(ctx)
    root = _root(ctx)
    matches = [
        {"path": _name(root, file), "line": number, "text": line.strip()}
        for file in _files(root)
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1)
        if text.lower() in line.lower()
    ]
    return matches[:MOST_MATCHES]


@tool
def read_file(ctx: ToolContext, path: str) -> str:
    """Read the file at a path that list_files gave."""
    _note(ctx)
    return _inside(_root(ctx), path).read_text("utf-8", "replace")[:MOST_CHARACTERS]


@tool
def move_file(ctx: ToolContext, path: str, folder: str) -> str:
    """Move the file at a path into a folder, which is made if needed; returns its new path."""
    _note(ctx)
    root = _root(ctx)
    source = _inside(root, path)
    target = _inside(root, str(Path(folder) / source.name))
    # An earlier attempt of this very call may have moved the file and died before it could say so.
    if target.is_file() and not source.exists():
        return _name(root, target)
    if target.exists():
        raise FileExistsError(f"{_name(root, target)!r} exists. Choose another folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    return _name(root, target)


@tool(background=True)
def write_index(ctx: ToolContext) -> int:
    """Write an index of all files beside the folder, which takes a while; returns how many."""
    root = _root(ctx)
    rows = []
    for file in _files(root):
        rows.append(f"{_name(root, file)}: {len(file.read_text('utf-8', 'replace').split())} words")
        # As slow as a scan would be.
        time.sleep(SCAN)
    index_of(ctx.context["calls"]).write_text("\n".join(rows))
    _note(ctx)
    return len(rows)


def index_of(calls: str) -> Path:
    """Where the index is: beside the file of calls."""
    return Path(calls).with_name("index.txt")


def _root(ctx: ToolContext) -> Path:
    return Path(ctx.context["directory"]).resolve()


def _inside(root: Path, path: str) -> Path:
    """The file's place; links are followed before it is judged."""
    found = (root / path).resolve()
    if found == root or not found.is_relative_to(root):
        raise PermissionError(f"{path!r} leads out of the folder. Use a path inside it.")
    return found


def _files(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*") if file.is_file() and not file.is_symlink())


def _name(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()


def _note(ctx: ToolContext) -> None:
    """Add a line to the file of calls, and emit which process works."""
    with Path(ctx.context["calls"]).open("a") as calls:
        calls.write(f"{ctx.idempotency_key}\n")
    ctx.emit({"pid": os.getpid()})
