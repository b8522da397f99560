"""The model of one's own in docs/models.md speaks with a server and survives a conversation."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evented_agent.errors import ModelError
from evented_agent.models import (
    AnswerEnded,
    AssistantMessage,
    CallPiece,
    CallStarted,
    Message,
    Model,
    ModelRequest,
    TextPiece,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from tests.unit.models.peer import Peer, ask, failure

DOCS = Path(__file__).parent.parent.parent / "docs" / "models.md"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    *_, block = DOCS.read_text().split("```python\n")
    # Dataclasses look their module up.
    module = ModuleType("own_model")
    monkeypatch.setitem(sys.modules, "own_model", module)
    exec(compile(block.partition("```")[0], "models.md", "exec"), module.__dict__)
    return module.Lines


@pytest.fixture
def peer() -> Any:
    made = Peer()
    yield made
    made.close()


def reply(peer: Peer, status: int, *said: Any) -> None:
    body = "".join(f"{json.dumps(each)}\n" for each in said).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
    peer.reply(head.encode() + body)


def test_the_model_of_the_docs_answers_and_calls(lines: Any, peer: Peer) -> None:
    model = lines(f"{peer.url}/chat", "m")
    assert isinstance(model, Model)
    call = {"id": "c1", "call": "add", "arguments": {"a": 1}}
    reply(peer, 200, {"text": "Well."}, call, {"end": 1, "in": 3, "out": 2, "state": "s"})
    *said, end = ask(model)
    assert said == [TextPiece("Well."), CallStarted(0, "c1", "add"), CallPiece(0, '{"a": 1}')]
    assert isinstance(end, AnswerEnded)
    assert (end.reason, end.usage.input_tokens) == ("tool-calls", 3)
    reply(peer, 200, {"text": "Done."}, {"end": 1, "in": 3, "out": 2})
    messages: list[Message] = [
        UserMessage(content="Hi"),
        AssistantMessage(content="Well.", provider=dict(end.provider)),
        ToolMessage(tool_call_id="c1", name="add", result=3),
    ]
    tools = [ToolSpec("add", "Add.", {"type": "object"})]
    ask(model, ModelRequest(messages, instructions="Be brief.", tools=tools))
    asked = peer.asked[1].body
    assert [each["from"] for each in asked["messages"]] == ["user", "model", "tool"]
    assert asked["messages"][1]["state"] == "s"


def test_the_model_of_the_docs_says_what_may_be_tried_again(lines: Any, peer: Peer) -> None:
    reply(peer, 503)
    assert failure(lines(f"{peer.url}/chat", "m")).retryable
    reply(peer, 200, {"call": "add"})
    error = failure(lines(f"{peer.url}/chat", "m"))
    assert isinstance(error, ModelError)
    assert error.retryable
