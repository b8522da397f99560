"""Recorded exchanges with real providers: what they said is understood, what they want comes back.

Plays the folder that EVENTED_AGENT_RECORDINGS names; CONTRIBUTING.md has the format.
"""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evented_agent.errors import ModelError
from evented_agent.execution.tasks.answer import AnswerBuilder
from evented_agent.models import (
    Message,
    Model,
    ModelRequest,
    OpenAIChat,
    OpenAIResponses,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from evented_agent.state.fold import assistant_message
from evented_agent.state.journal import Turn, dump_entry, load_entry

FOLDER = os.environ.get("EVENTED_AGENT_RECORDINGS", "")
CASES = sorted(Path(FOLDER, "cases").glob("*.json")) if FOLDER else []

pytestmark = pytest.mark.skipif(not FOLDER, reason="EVENTED_AGENT_RECORDINGS names no folder")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    path = Path(FOLDER, "replay.py")
    spec = importlib.util.spec_from_file_location("recorded_replay", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recorded_replay"] = module
    spec.loader.exec_module(module)
    with module.Replay() as replay:
        yield replay


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_recorded_exchange_is_understood_and_gone_on_with(path: Path, server: Any) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    api = OpenAIChat if case["api"] == "chat" else OpenAIResponses
    model = api(case["model"] or "m", base_url=server.add(case))
    asyncio.run(_play(case, model, server))


async def _play(case: Mapping[str, Any], model: Model, server: Any) -> None:
    said: list[Message] = [UserMessage(content="Hello")]
    for number, exchange in enumerate(case["exchanges"]):
        # Where a recording does not go on with what was said before, it says something else.
        said = said if "answers" in exchange else [UserMessage(content="Hello")]
        request = ModelRequest(said, tools=_tools(exchange["request"] or {}))
        expected = exchange["expected"]
        if "error" in expected:
            await _check_error(model, request, expected["error"])
            continue
        turn = await _answer(model, request, number + 1, said)
        _check_answer(turn, expected)
        if "answers" in exchange:
            asked = server.asked[case["id"]][number]["body"]
            _check_returned(exchange, asked)
        said += [assistant_message(turn), *_results(turn), UserMessage(content="Go on.")]
        if turn.calls:
            said.pop()


async def _answer(model: Model, request: ModelRequest, step: int, said: Sequence[Message]) -> Turn:
    used = {call.id for message in said for call in getattr(message, "tool_calls", ())}
    answer = AnswerBuilder(step=step, attempt=1, used_call_ids=used)
    async for event in model.stream(request):
        for _ in answer.take(event):
            pass
    turn = load_entry(dump_entry(answer.turn(model=model.name)))
    assert isinstance(turn, Turn)
    return turn


def _results(turn: Turn) -> list[Message]:
    return [ToolMessage(tool_call_id=call.id, name=call.name, result="42") for call in turn.calls]


def _tools(request: Mapping[str, Any]) -> list[ToolSpec]:
    found = []
    for tool in request.get("tools") or ():
        function = tool.get("function") or tool
        if tool.get("type") == "function" and "name" in function:
            schema = function.get("parameters") or {"type": "object", "properties": {}}
            found.append(ToolSpec(function["name"], function.get("description") or "", schema))
    return found


async def _check_error(model: Model, request: ModelRequest, expected: Mapping[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        async for _ in model.stream(request):
            pass
    assert expected.get("words", "") in str(caught.value)
    if expected["status"] != 200:
        assert str(expected["status"]) in str(caught.value)
    if "retryable" in expected:
        assert caught.value.retryable == expected["retryable"]


def _check_answer(turn: Turn, expected: Mapping[str, Any]) -> None:
    assert _plain(turn.text) == _plain(expected["text"])
    assert _plain(turn.reasoning) == _plain(expected["reasoning"])
    calls = [
        (call.name, call.arguments if call.invalid is None else call.invalid) for call in turn.calls
    ]
    wanted = [(call["name"], _arguments(call["arguments"])) for call in expected["calls"]]
    assert calls == wanted
    assert turn.reason == expected["finish"]
    usage = expected["usage"] or {}
    names = {"input": "input", "output": "output", "total": "total", "reasoning": "reasoning"}
    counted = {name: getattr(turn.usage, f"{ours}_tokens") for name, ours in names.items()}
    counted["cached"] = turn.usage.cached_input_tokens
    assert counted == {name: usage.get(name) or 0 for name in counted}


def _plain(text: str) -> str:
    # Parts are kept apart by a paragraph; the recordings' reader puts them together.
    return "".join((text or "").split())


def _arguments(text: Any) -> Any:
    try:
        found = json.loads(text) if isinstance(text, str) and text.strip() else text or {}
    except ValueError:
        # Cut off: it is shown as it came.
        return text
    return {} if found is None else found


def _check_returned(exchange: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    answers, recorded = exchange["answers"], exchange["request"]
    items = recorded.get("messages") or recorded.get("input")
    theirs, ours = items[answers["at"] :], asked.get("messages") or asked.get("input")
    for name in answers["must"]:
        wanted, given = _named(theirs, name), _named(ours, name)
        assert wanted, f"the recording has no {name}"
        # Ours may hold earlier turns too, and what the recording's client left out. That client
        # may also have made up entries without content.
        for each in wanted:
            if isinstance(each, list):
                each = [part for part in each if part.keys() - {"type", "index", "format"}]  # noqa: PLW2901
            assert any(_holds(mine, each) for mine in given), f"{name} is missing: {each!r:.200}"


def _holds(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        given = {key: value for key, value in theirs.items() if value is not None}
        return all(_holds(ours.get(key), value) for key, value in given.items())
    if isinstance(theirs, list) and isinstance(ours, list):
        return all(any(_holds(mine, each) for mine in ours) for each in theirs)
    if isinstance(theirs, str) and isinstance(ours, str):
        return ours.strip() == theirs.strip()
    return bool(ours == theirs)


def _named(items: Any, name: str) -> list[Any]:
    """Whatever stands under *name*, or is of that type, anywhere in the assistant's turn."""
    found: list[Any] = []
    if isinstance(items, list):
        for item in items:
            found += _named(item, name)
    elif isinstance(items, Mapping):
        if items.get("type") == name:
            found.append(items)
        for key, value in items.items():
            if key == name and value:
                found.append(value)
            elif isinstance(value, (list, Mapping)):
                found += _named(value, name)
    return found
