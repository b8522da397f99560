"""Connections: shared on one event loop, never across loops or a fork, closed with the loop."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evented_agent.models import AnswerEnded, ModelRequest, OpenAIChat, TextPiece, guard
from evented_agent.models.messages import UserMessage
from evented_agent.models.openai.clients import client_for
from tests.unit.models.conftest import KEY
from tests.unit.models.peer import STREAM, Peer, answer, ask, collect, events, failure

HI = answer({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}, "[DONE]")
SAID = [TextPiece("Hi"), AnswerEnded("stop")]


def test_calls_on_one_loop_share_a_connection(peer: Peer) -> None:
    async def twice() -> None:
        for _ in range(2):
            peer.reply(HI)
            assert await collect(OpenAIChat("m", base_url=peer.url)) == SAID

    asyncio.run(twice())

    assert [asked.connection for asked in peer.asked] == [1, 1]


def test_another_loop_gets_a_connection_of_its_own(peer: Peer) -> None:
    model = OpenAIChat("m", base_url=peer.url)
    for _ in range(2):
        peer.reply(HI)
        assert ask(model) == SAID

    assert [asked.connection for asked in peer.asked] == [1, 2]


def test_two_threads_with_a_loop_each_call_at_the_same_time(peer: Peer) -> None:
    both_asked = threading.Barrier(2, timeout=10)

    def wait_for_the_other(_: object) -> None:
        both_asked.wait()

    for _ in range(2):
        peer.reply(wait_for_the_other, HI)
    said: list[object] = []
    model = OpenAIChat("m", base_url=peer.url)
    threads = [threading.Thread(target=lambda: said.append(ask(model))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert said == [SAID, SAID]


def test_a_client_is_closed_with_its_loop_and_kept_per_server_and_key() -> None:
    async def clients() -> list[object]:
        one = await client_for("http://127.0.0.1:1/v1", "a")
        assert await client_for("http://127.0.0.1:1/v1", "a") is one
        return [
            one,
            await client_for("http://127.0.0.1:1/v1", "b"),
            await client_for("http://127.0.0.1:2/v1", "a"),
        ]

    made = asyncio.run(clients())

    assert len({id(client) for client in made}) == 3
    assert all(client.is_closed() for client in made)  # type: ignore[attr-defined]


def test_the_client_of_a_loop_that_was_only_closed_is_forgotten() -> None:
    loop = asyncio.new_event_loop()
    first = loop.run_until_complete(client_for("http://127.0.0.1:1/v1", "a"))
    loop.close()

    async def second() -> object:
        return await client_for("http://127.0.0.1:1/v1", "a")

    assert asyncio.run(second()) is not first


FORK = """
import asyncio, os, sys
from evented_agent.models.messages import UserMessage
from evented_agent.models import ModelRequest, OpenAIChat

async def call():
    request = ModelRequest([UserMessage(content=str(os.getpid()))])
    return [event async for event in OpenAIChat("m").stream(request)]

with asyncio.Runner() as runner:
    before = runner.run(call())
    child = os.fork()
    if not child:
        os._exit(0 if asyncio.run(call()) == before else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert runner.run(call()) == before
"""


def test_a_forked_child_leaves_its_parents_connection_alone(peer: Peer) -> None:
    for _ in range(3):
        peer.reply(HI)
    root = Path(sys.modules["evented_agent"].__path__[0]).parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENAI_BASE_URL": peer.url}

    subprocess.run([sys.executable, "-c", FORK], env=environment, check=True, timeout=30)

    assert [asked.connection for asked in peer.asked] == [1, 2, 1]


def test_closing_the_iterator_closes_the_connection(peer: Peer) -> None:
    peer.reply(STREAM, events({"choices": [{"delta": {"content": "H"}}]}), peer.wait_for_end)

    async def first_piece() -> object:
        request = ModelRequest([UserMessage(content="Hi")])
        stream = OpenAIChat("m", base_url=peer.url).stream(request)
        piece = await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(peer.gone.wait, 5)
        return piece

    assert asyncio.run(first_piece()) == TextPiece("H")


def test_cancelling_the_caller_closes_the_connection(peer: Peer) -> None:
    peer.reply(STREAM, events({"choices": [{"delta": {"content": "H"}}]}), peer.wait_for_end)

    async def cancelled() -> None:
        has_begun = asyncio.Event()

        async def listen() -> None:
            request = ModelRequest([UserMessage(content="Hi")])
            async for _ in OpenAIChat("m", base_url=peer.url).stream(request):
                has_begun.set()

        listening = asyncio.create_task(listen())
        async with asyncio.timeout(20):
            await has_begun.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        assert await asyncio.to_thread(peer.gone.wait, 5)

    asyncio.run(cancelled())


def test_server_and_key_are_looked_up_at_each_call(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OpenAIChat("m", api_key_env="MY_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", peer.url)
    for key in ("one", "two\n"):
        monkeypatch.setenv("MY_KEY", key)
        peer.reply(HI)
        ask(model)

    signed = [asked.headers["authorization"] for asked in peer.asked]
    assert signed == ["Bearer one", "Bearer two"]


def test_a_missing_key_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    error = failure(OpenAIChat("m"))

    assert not error.retryable
    assert str(error) == (
        "openai-chat/m needs an API key: set the environment variable OPENAI_API_KEY. "
        "A local server that checks none needs a dummy, such as 'local'."
    )


def test_a_key_that_no_header_can_carry_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel")

    error = failure(OpenAIChat("m"))

    assert "OPENAI_API_KEY holds characters that no API key has" in str(error)
    assert "schl" not in str(error)


def test_a_real_model_is_not_called_where_tests_forbid_it(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "blocked", {"this test"})

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert str(error).startswith("openai-chat/m was not called: this test forbids real models")
    assert peer.asked == []


def test_a_wrong_base_url_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000/v1")

    error = failure(OpenAIChat("m"))

    assert not error.retryable
    assert "OPENAI_BASE_URL is not an http or https URL" in str(error)


def test_a_password_in_the_base_url_is_not_shown(peer: Peer) -> None:
    url = peer.url.replace("//", f"//user:{KEY}-password@")
    peer.reply(answer())

    assert "password" not in str(failure(OpenAIChat("m", base_url=url)))
