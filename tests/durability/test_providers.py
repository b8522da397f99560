"""Reasoning, parallel calls and an image, with a dead worker and another provider in between."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evented_agent import EventedAgent
from tests.conftest import StartWorker
from tests.support.strict_server import Reply, StrictServer, call, check_template, delta
from tests.support.workers import wait_until

THOUGHTS = ["They want both.", "One more."]
DETAIL = {"type": "reasoning.encrypted", "data": "c2lnbmVk", "index": 0}
SIGNED = {"google": {"thought_signature": "c2ln"}}
IDS = ("functions.look:0", "functions.add:1", "functions.add:2")
IMAGE = "data:image/png;base64,iVBORw0KGgo="


class Thinker:
    """A provider that wants all back that it said, as it said it."""

    def __init__(self) -> None:
        self.is_asked_again = threading.Event()
        self.goes_on = threading.Event()

    def check(self, body: dict[str, Any]) -> None:
        said = [each for each in body["messages"] if "tool_calls" in each]
        for turn, thought in zip(said, THOUGHTS, strict=False):
            assert turn["reasoning_content"] == thought
            assert turn["reasoning_details"] == [DETAIL]
        if not said:
            return
        first, second = said[0]["tool_calls"]
        assert (first["id"], second["id"]) == IDS[:2]
        assert first["extra_content"] == SIGNED
        assert "extra_content" not in second
        results = [each["tool_call_id"] for each in body["messages"] if each["role"] == "tool"]
        assert results == list(IDS[: len(results)])
        shown = [each["content"] for each in body["messages"] if each["role"] == "user"][-1]
        assert {"type": "image_url", "image_url": {"url": IMAGE}} in shown

    def reply(self, body: dict[str, Any]) -> Reply:
        step = sum("tool_calls" in each for each in body["messages"])
        if step == 2:
            return 429, {"error": {"message": "Come back tomorrow."}}, {"retry-after": "86400"}
        calls = [call(0, IDS[2], "add", a=3, b=4)]
        if step == 0:
            look = {**call(0, IDS[0], "look", place="Rome"), "extra_content": SIGNED}
            calls = [look, call(1, IDS[1], "add", a=1, b=2)]
        else:
            self.is_asked_again.set()
        return self._say(step, calls)

    def _say(self, step: int, calls: list[dict[str, Any]]) -> Iterator[Any]:
        yield delta(reasoning_content=THOUGHTS[step], reasoning_details=[DETAIL])
        if step == 1:
            yield self.goes_on
        yield delta(tool_calls=calls)
        yield delta("tool_calls")


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.providers_app"


def test_each_provider_gets_what_it_takes_though_a_worker_dies_and_another_model_takes_over(
    agents: dict[str, EventedAgent],
    start_worker: StartWorker,
    marks: Path,
) -> None:
    thinker = Thinker()
    with (
        StrictServer(thinker.check, thinker.reply) as first,
        StrictServer(
            check_template, lambda _: [delta(content="Seen: 7."), delta("stop")]
        ) as second,
    ):
        env = {
            "TEST_THINKER_URL": first.url,
            "TEST_STRICT_URL": second.url,
            "TEST_MODEL_KEY": "key-of-the-test",
        }
        worker = start_worker("w1", env=env)
        question: list[dict[str, Any]] = [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Compare."},
                    {"type": "image_url", "image_url": {"url": IMAGE}},
                ],
            }
        ]
        run = agents["traveller"].stream(question)
        wait_until(thinker.is_asked_again.is_set, "the second step has begun", 40)
        worker.kill()
        thinker.goes_on.set()
        start_worker("w2", env=env)
        result = run.result(timeout=60)

        assert result.text == "Seen: 7."
        assert [step.model for step in result.steps] == ["openai-chat/thinker"] * 2 + [
            "openai-chat/strict"
        ]
        assert (first.refused, second.refused) == ([], [])
        # The step that the worker died in was asked twice, the others once.
        assert (len(first.asked), len(second.asked)) == (4, 1)
        assert IMAGE in str(second.asked[0]["messages"])
    assert (marks / "add").read_text().splitlines() == ["1+2", "3+4"]
