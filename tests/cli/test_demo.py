"""The demo keeps what it promises, leaves nothing behind, and its parts do what they say."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from evented_agent import ModelError, ToolContext
from evented_agent.cli.demo import run_demo
from evented_agent.cli.demo.agent import (
    list_files,
    make_librarian,
    move_file,
    read_file,
    search_text,
)
from evented_agent.cli.demo.folder import FILES, contents, lay_out
from evented_agent.cli.demo.rehearsal import RehearsedReply, reply_to
from evented_agent.cli.demo.rehearsed import serve_rehearsed
from evented_agent.cli.demo.screen import Screen
from evented_agent.models import AnswerEnded, ModelRequest, TextPiece
from evented_agent.models.messages import UserMessage
from evented_agent.models.openai.chat import OpenAIChat
from tests.support.workers import ROOT, wait_until


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its directory, on a machine without a key and with other servers."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("EVENTED_AGENT_REDIS_URL", "redis://127.0.0.1:1/0")
    for name in ("OPENAI_API_KEY", "EVENTED_AGENT_DEMO_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_demo_shows_an_agent_that_survives_its_worker(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_demo()

    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "No OPENAI_API_KEY: a rehearsed model answers, over real HTTP." in shown
    assert '→ move_file(path="bike.txt", folder="invoices")' in shown
    before, after = shown.split("✗ kill -9 ")
    assert "EUR 321.45" in before
    assert "↺ attempt 1 withdrawn (crash)" in after
    assert "takes over" in after
    assert after.split("Afterwards:")[1].count("✓") == 5
    assert "write_index runs in the background" in after
    assert "The index is written, too: it has 12 files." in after
    assert not list(temporary.glob("ea-demo-*"))


def test_ctrl_c_stops_the_demo_and_all_that_it_started(temporary: Path) -> None:
    output = temporary / "output"
    with output.open("wb") as file:
        demo = subprocess.Popen(
            [sys.executable, "-m", "evented_agent.cli.demo"], cwd=ROOT, stdout=file, stderr=file
        )
    try:
        wait_until(lambda: "you:" in output.read_text(), "the run was started", 60)
        [home] = temporary.glob("ea-demo-*")
        demo.send_signal(signal.SIGINT)
        # Python ends itself by the signal if the interrupt came within an `exec` (of a dataclass,
        # say); a shell sees 130 either way.
        assert demo.wait(30) in (130, -signal.SIGINT), output.read_text()
    finally:
        demo.kill()
    assert "Interrupted" in output.read_text()
    assert not home.exists()
    assert not processes_that_mention(home)


def processes_that_mention(home: Path) -> list[str]:
    listed = subprocess.run(
        ["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listed.splitlines() if str(home) in line]


@pytest.fixture
def ctx(tmp_path: Path) -> ToolContext:
    """The context of a tool on a fresh folder."""
    lay_out(tmp_path / "folder")
    places = {"directory": str(tmp_path / "folder"), "calls": str(tmp_path / "calls")}
    return ToolContext(run_id="r", tool_call_id="c", tool_name="t", context=places)


@pytest.mark.parametrize("path", ["../calls", "/etc/passwd", "a/../../calls", "way-out/calls", "."])
def test_no_tool_leaves_the_folder(ctx: ToolContext, path: str) -> None:
    root = Path(ctx.context["directory"])
    (root / "way-out").symlink_to(root.parent)
    with pytest.raises(PermissionError, match="leads out of the folder"):
        read_file(ctx, path)
    with pytest.raises(PermissionError, match="leads out of the folder"):
        move_file(ctx, path, "notes")
    with pytest.raises(PermissionError, match="leads out of the folder"):
        move_file(ctx, "todo.txt", "../folder-of-another")


def test_a_move_is_done_once_however_often_it_is_tried(ctx: ToolContext) -> None:
    assert move_file(ctx, "todo.txt", "notes") == "notes/todo.txt"
    assert move_file(ctx, "todo.txt", "notes") == "notes/todo.txt"

    moved = contents(Path(ctx.context["directory"]))
    assert moved["notes/todo.txt"] == FILES["todo.txt"]
    assert len(moved) == len(FILES)
    (Path(ctx.context["directory"]) / "todo.txt").write_text("another")
    with pytest.raises(FileExistsError, match="Choose another folder"):
        move_file(ctx, "todo.txt", "notes")


def test_every_execution_of_a_tool_leaves_a_line_and_tells_its_process(ctx: ToolContext) -> None:
    told: list[Any] = []
    list_files(ToolContext("r", "c", "t", context=ctx.context, emit=told.append))

    assert Path(ctx.context["calls"]).read_text() == "r:c\n"
    assert told == [{"pid": os.getpid()}]


def conversation(ctx: ToolContext) -> tuple[list[dict[str, Any]], RehearsedReply]:
    """Talk with the rehearsed model over the real tools, up to its report."""
    tools = {tool.name: tool for tool in make_librarian("openai-chat/rehearsed").tools}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Tidy up."}]
    while (reply := reply_to(messages)).calls and reply.calls[0][0] != "write_index":
        calls = [
            {"id": str(i), "function": {"name": name, "arguments": json.dumps(arguments)}}
            for i, (name, arguments) in enumerate(reply.calls)
        ]
        messages.append({"role": "assistant", "content": reply.text, "tool_calls": calls})
        for i, (name, arguments) in enumerate(reply.calls):
            result = tools[name](ctx, **arguments)
            content = result if isinstance(result, str) else json.dumps(result)
            messages.append({"role": "tool", "tool_call_id": str(i), "content": content})
    return messages, reply


def test_the_rehearsed_model_decides_by_what_the_tools_find(ctx: ToolContext) -> None:
    root = Path(ctx.context["directory"])
    (root / "ideas.txt").write_text("Invoice no. 1\nTotal: EUR 100.00\nStatus: unpaid\n")
    (root / "bike.txt").unlink()
    _, report = conversation(ctx)

    assert (root / "invoices" / "ideas.txt").exists()
    assert "I found 11 files" in report.text
    assert "they come to EUR 375.95" in report.text
    assert "Still open are ideas, scan0001 and scan0003, which add up to EUR 244.20" in report.text
    assert {len(list(root.glob(f"{kind}/*"))) for kind in ("recipes", "letters")} == {3, 2}
    assert search_text(ctx, "lentil soup") == [
        {"path": "recipes/monday.txt", "line": 1, "text": "Lentil soup"}
    ]


@asynccontextmanager
async def served(port_file: Path) -> AsyncIterator[str]:
    server = asyncio.create_task(serve_rehearsed(port_file))
    while not port_file.exists():
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        server.cancel()


def test_the_rehearsed_server_speaks_to_the_real_client_and_refuses_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "rehearsed")
    request = ModelRequest([UserMessage(content="Tidy up.")])

    async def ask(base_url: str) -> list[Any]:
        return [e async for e in OpenAIChat("rehearsed", base_url=base_url).stream(request)]

    async def both() -> list[Any]:
        async with served(tmp_path / "port") as url:
            with pytest.raises(ModelError, match="There is only POST /v1/chat/completions"):
                await ask(f"{url}/v2")
            return await ask(f"{url}/v1")

    events = asyncio.run(both())
    text = "".join(event.text for event in events if isinstance(event, TextPiece))
    assert text == reply_to([{"role": "user", "content": "Tidy up."}]).text
    [ended] = [event for event in events if isinstance(event, AnswerEnded)]
    assert ended.reason == "tool-calls"
    assert ended.usage.output_tokens == len(text.split())


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    coloured, plain, file = Terminal(), Terminal(), StringIO()
    Screen(coloured).line("done", "green")
    Screen(file).line("done", "green")
    monkeypatch.setenv("NO_COLOR", "1")
    Screen(plain).line("done", "green")

    assert coloured.getvalue() == "\x1b[32mdone\x1b[0m\n"
    assert plain.getvalue() == file.getvalue() == "done\n"


def test_running_text_is_broken_between_words_however_it_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = StringIO()
    screen = Screen(stream)
    for piece in ("A fi", "rst paragraph,", " brok", "en.\n", "\nA sec", "ond."):
        screen.say(piece)
    screen.line("end")
    screen.short("  a line that is far too long")

    assert stream.getvalue() == (
        "    A first\n    paragraph,\n    broken.\n\n    A second.\nend\n  a line that is f…\n"
    )
