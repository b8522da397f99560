"""OpenAI's clients and two real workers, which are killed in the middle of answers."""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAI
from openai.types.responses import Response
from starlette.requests import Request

from evented_agent import RunInfo, Runs
from evented_agent.web import Action, Principal, create_app
from tests.conftest import StartWorker
from tests.http.conftest import Served, serving
from tests.http.openai_client import OPENAI_PATH, client_of
from tests.support.words import TEXT
from tests.support.workers import WorkerProcess, wait_until


def authorize_ann(request: Request, action: Action, run: RunInfo | None) -> Principal | None:
    return Principal("Ann", "ann")


@pytest.fixture(scope="module")
def site(runs: Runs) -> Iterator[Served]:
    with serving(create_app(runs, authorize=authorize_ann)) as site:
        yield site


@pytest.fixture(scope="module")
def openai_client(site: Served) -> Iterator[OpenAI]:
    with client_of(site, timeout=60) as client:
        yield client


@pytest.fixture
def workers(start_worker: StartWorker) -> list[WorkerProcess]:
    return [start_worker(name, concurrency=2) for name in ("w1", "w2")]


def kill_busy(runs: Runs, run_id: str, workers: list[WorkerProcess]) -> None:
    """Kill the worker that runs a task of this run."""
    owner = wait_until(lambda: runs.get(run_id).worker, "a worker runs it")
    next(worker for worker in workers if owner.startswith(f"{worker.name}@")).kill()


def run_of_response(response: Response) -> str:
    return response.id.partition(":")[0]


def newest(runs: Runs, agent: str, before: set[str]) -> str:
    """The run that was begun since."""

    def find() -> str | None:
        found = {run.run_id for run in runs.list(agent=agent, limit=50)} - before
        return found.pop() if found else None

    return str(wait_until(find, "a run was begun"))


def known(runs: Runs, agent: str) -> set[str]:
    return {run.run_id for run in runs.list(agent=agent, limit=50)}


def check_exact(runs: Runs, response: Response) -> None:
    """What the client has is what the run came to; half-said text is there as an empty item."""
    assert response.status == "completed"
    assert response.output_text == runs.result(run_of_response(response)).text == TEXT
    withdrawn = [item for item in response.output if item.type == "message" and not item.content]
    assert [item.status for item in withdrawn] == ["incomplete"]


def test_a_stream_over_a_killed_worker_ends_with_the_whole_text(
    openai_client: OpenAI, runs: Runs, workers: list[WorkerProcess]
) -> None:
    run_id, has_killed = "", False
    with openai_client.responses.stream(model="speaker", input="Talk.") as stream:
        for event in stream:
            if event.type == "response.created":
                run_id = event.response.id
            if event.type == "response.output_text.delta" and not has_killed:
                has_killed = event.snapshot.endswith("word20 ")
                if has_killed:
                    kill_busy(runs, run_id, workers)
        final = stream.get_final_response()

    check_exact(runs, final)
    assert openai_client.responses.retrieve(final.id).output_text == TEXT


def test_who_waits_over_a_killed_worker_is_answered_with_the_whole_text(
    openai_client: OpenAI, runs: Runs, workers: list[WorkerProcess]
) -> None:
    before = known(runs, "speaker")

    async def wait_and_kill() -> Response:
        waiting = asyncio.create_task(
            asyncio.to_thread(openai_client.responses.create, model="speaker", input="Talk.")
        )
        run_id = await asyncio.to_thread(newest, runs, "speaker", before)
        await asyncio.to_thread(wait_for_text, runs, run_id, "word10 ")
        await asyncio.to_thread(kill_busy, runs, run_id, workers)
        return await waiting

    check_exact(runs, asyncio.run(wait_and_kill()))


def wait_for_text(runs: Runs, run_id: str, word: str) -> None:
    for part in runs.observe(run_id).text_parts():
        if part.snapshot.endswith(word):
            return


# The SDK leaves what it reads a dropped stream with to the garbage collector, in whatever thread.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator object:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_client_that_drops_its_socket_anywhere_goes_on_where_it_was(
    seed: int, site: Served, runs: Runs, workers: list[WorkerProcess]
) -> None:
    chance = random.Random(seed)
    kill_at = chance.randrange(10, 60)

    async def follow() -> tuple[str, list[dict[str, Any]]]:
        seen: list[dict[str, Any]] = []
        async with AsyncOpenAI(
            base_url=f"{site.url}{OPENAI_PATH}",
            api_key="ann",
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as client:
            begun = await client.responses.create(model="speaker", input="Talk.", background=True)
            has_killed = False
            while not seen or seen[-1]["type"] != "response.completed":
                after: Any = {"starting_after": len(seen) - 1} if seen else {}
                stream = await client.responses.retrieve(begun.id, stream=True, **after)
                left = chance.randrange(1, 40)
                async for event in stream:
                    seen.append(event.to_dict())
                    left -= 1
                    if not has_killed and len(seen) >= kill_at:
                        has_killed = True
                        await asyncio.to_thread(kill_busy, runs, begun.id, workers)
                    if left == 0:
                        break
                await stream.close()
            return begun.id, seen

    run_id, seen = asyncio.run(follow())
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    with client_of(site) as client:
        events = client.responses.retrieve(run_id, stream=True)
        assert [event.to_dict() for event in events] == seen
        with client.responses.stream(response_id=run_id, starting_after=kill_at) as stream:
            check_exact(runs, stream.get_final_response())


Decide = Callable[[Response], Any]


def approve(response: Response) -> Any:
    id_ = response.output[-1].id
    return {"type": "mcp_approval_response", "approval_request_id": id_, "approve": True}


def decline(response: Response) -> Any:
    return {**approve(response), "approve": False, "reason": "too risky"}


def answer(response: Response) -> Any:
    [asked] = [item for item in response.output if item.type == "function_call"]
    return {"type": "function_call_output", "call_id": asked.call_id, "output": '"yes"'}


@pytest.mark.parametrize(
    ("asked", "decide", "told"),
    [
        ('erase {"name": "a"}', approve, "erased a"),
        ('erase {"name": "a"}', decline, "too risky"),
        ('ask {"question": "Really?"}', answer, "They say yes."),
    ],
)
def test_a_decision_over_killed_workers_is_taken_once(
    asked: str,
    decide: Decide,
    told: str,
    openai_client: OpenAI,
    runs: Runs,
    start_worker: StartWorker,
) -> None:
    first = start_worker("w1")
    begun = openai_client.responses.create(model="toolbox", input=asked)
    assert begun.status == "completed"
    first.kill()
    given = [decide(begun)]
    waits = openai_client.responses.create(input=given, background=True)
    assert waits.status in ("queued", "in_progress")
    start_worker("w2")
    # Repeated, as a client does whose answer was lost.
    second = openai_client.responses.create(input=given)

    assert second.id == waits.id
    assert told in second.output_text
    assert second.output_text == runs.result(run_of_response(second)).text
    # A second turn of the same conversation.
    third = openai_client.responses.create(
        model="hello", input="Thanks.", previous_response_id=second.id
    )
    assert third.output_text == "Hello, world."
    assert runs.get(third.id).thread_id == runs.get(run_of_response(second)).thread_id


@pytest.mark.parametrize("is_answering", [False, True])
def test_a_message_over_a_killed_worker_is_answered_once(
    openai_client: OpenAI, runs: Runs, workers: list[WorkerProcess], is_answering: bool
) -> None:
    """The worker dies before the message is applied, or while it is answered."""
    create, conversation = openai_client.responses.create, f"chat {uuid4().hex}"
    first = create(model="speaker", input="Talk.", conversation=conversation, background=True)
    wait_for_text(runs, first.id, "word10 ")
    steer: Any = {"when_busy": "steer"}
    said, has_killed = "", False
    if not is_answering:
        create(
            model="speaker",
            input="And on.",
            conversation=conversation,
            background=True,
            extra_body=steer,
            extra_headers={"Idempotency-Key": conversation},
        )
        kill_busy(runs, first.id, workers)
    events = create(
        model="speaker",
        input="And on.",
        conversation=conversation,
        stream=True,
        extra_body=steer,
        extra_headers={"Idempotency-Key": conversation},
    )
    for event in events:
        said += event.delta if event.type == "response.output_text.delta" else ""
        if is_answering and not has_killed and said.endswith("word20 "):
            has_killed = True
            kill_busy(runs, first.id, workers)
    assert event.type == "response.completed"
    final, before = event.response, openai_client.responses.retrieve(first.id)
    # What was withdrawn is not said again by itself: the next attempt answers both.
    assert (before.output_text, final.output_text) == (TEXT if is_answering else "", TEXT)
    assert runs.result(first.id).text == "\n\n".join([TEXT] * (1 + is_answering))
    counts = [
        sum(item.type == "message" and not item.content for item in each.output)
        for each in (before, final)
    ]
    assert counts == ([0, 1] if is_answering else [1, 0])
    assert openai_client.responses.retrieve(final.id) == final


def test_a_response_whose_worker_is_dead_is_cancelled(
    openai_client: OpenAI, runs: Runs, workers: list[WorkerProcess]
) -> None:
    begun = openai_client.responses.create(model="speaker", input="Talk.", background=True)
    wait_for_text(runs, begun.id, "word5 ")
    kill_busy(runs, begun.id, workers)
    cancelled = openai_client.responses.cancel(begun.id)

    assert (cancelled.id, cancelled.status) == (begun.id, "cancelled")
    assert cancelled.output_text == runs.result(begun.id).text
    assert openai_client.responses.retrieve(begun.id) == cancelled
    # The other worker lives.
    failed = openai_client.responses.create(model="failing", input="Go.")
    assert (failed.status, failed.error is not None) == ("failed", True)
    assert "out of credit" in str(failed.error)


def test_a_completion_whose_words_are_withdrawn_ends_with_an_error(
    openai_client: OpenAI, runs: Runs, workers: list[WorkerProcess]
) -> None:
    before = known(runs, "speaker")
    asked: Any = {"model": "speaker", "messages": [{"role": "user", "content": "Talk."}]}

    def read_and_kill() -> None:
        said, has_killed = "", False
        for chunk in openai_client.chat.completions.create(**asked, stream=True):
            said += chunk.choices[0].delta.content or ""
            if said.endswith("word20 ") and not has_killed:
                has_killed = True
                kill_busy(runs, newest(runs, "speaker", before), workers)

    with pytest.raises(openai.APIError, match="began anew"):
        read_and_kill()
    run_id = newest(runs, "speaker", before)
    assert runs.observe(run_id).result(30).text == TEXT

    whole = openai_client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == TEXT
