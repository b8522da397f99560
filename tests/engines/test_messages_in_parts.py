"""Messages in parts through the whole engine; and a thread whose run cannot save it."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from evented_agent import (
    Agent,
    DurableAgent,
    RunFailed,
    Settings,
    Window,
    create_durable_agent,
)
from evented_agent.agents.memory import Thread
from evented_agent.models import ImagePart, Message, ModelRequest, TextPart, UserMessage
from evented_agent.testing import ScriptedModel
from tests.support.servers import RedisServer

PNG = "data:image/png;base64,iVBORw0KGgo="
QUESTION: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PNG}},
        ],
    }
]
READ = UserMessage(content=[TextPart(text="What is it?"), ImagePart(url=PNG)])


class BrokenMemory:
    """Loses every word."""

    async def load(self, thread: Thread, window: Window) -> Sequence[Message]:
        return []

    async def save(self, thread: Thread, run_id: str, messages: Sequence[Message]) -> None:
        raise OSError("the disk is full")


def heard(request: ModelRequest) -> str:
    if any(message == READ for message in request.messages):
        return "I see it."
    raise RuntimeError("The image did not arrive.")


looker = Agent(id="looker", model=ScriptedModel([heard]))
forgetful = Agent(
    id="forgetful", model=ScriptedModel([ValueError("no model")]), memory=BrokenMemory()
)


@pytest.fixture
def settings() -> Settings:
    return Settings(prefix=f"p{uuid.uuid4().hex[:8]}")


@pytest.fixture
def durable(redis_server: RedisServer, settings: Settings) -> Iterator[DurableAgent]:
    made = create_durable_agent(looker, redis_url=redis_server.url, settings=settings)
    yield made
    made.close()


def test_a_run_is_asked_with_text_and_an_image(durable: DurableAgent) -> None:
    result = durable.stream(QUESTION).result(timeout=20)
    assert result.text == "I see it."
    assert result.messages[0] == READ


def test_a_thread_keeps_text_and_images(durable: DurableAgent) -> None:
    durable.stream(QUESTION, thread_id="t").result(timeout=20)
    assert durable.stream("And now?", thread_id="t").result(timeout=20).text == "I see it."
    assert durable.client.thread("t")[0] == READ


def test_a_thread_goes_on_behind_a_run_whose_words_cannot_be_saved(
    redis_server: RedisServer, settings: Settings
) -> None:
    made = create_durable_agent(forgetful, redis_url=redis_server.url, settings=settings)
    for run in [made.stream(text, thread_id="t") for text in ("One.", "Two.")]:
        with pytest.raises(RunFailed):
            run.result(timeout=30)
    made.close()
