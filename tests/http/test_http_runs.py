"""`HttpRuns`: the verbs of `Runs` over HTTP, and readers that go on after drops."""

import asyncio
import dataclasses
import inspect
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evented_agent import (
    AccessDenied,
    AsyncRunStream,
    BlockingCall,
    Cost,
    DeclarationError,
    HttpRuns,
    InboxFull,
    InProcessAgent,
    InvalidDecision,
    LedgerUnavailable,
    LimitReached,
    Metrics,
    NotFailed,
    NotSuspended,
    RunAborted,
    RunConflict,
    RunDeleted,
    RunEnded,
    RunExpired,
    RunFailed,
    RunNotFound,
    Runs,
    RunsCost,
    RunStream,
    ThreadNotFound,
)
from evented_agent.client.run_methods import RunMethods
from evented_agent.client.thread_methods import ThreadMethods
from evented_agent.web import Limits, create_app
from tests.http.agents import GATES
from tests.http.conftest import Serve, Served, authorize, serving
from tests.http.requests import call
from tests.support.servers import free_port
from tests.support.workers import wait_until


@pytest.fixture
def runs(served: Served) -> Any:
    with_token = HttpRuns(served.url, token=lambda: "ann")
    yield with_token
    with_token.close()


@pytest.fixture
def service(served: Served) -> Any:
    with_token = HttpRuns(served.url, token="service")
    yield with_token
    with_token.close()


def test_it_has_the_verbs_of_runs_with_their_parameters() -> None:
    names = [name for name in {**vars(RunMethods), **vars(ThreadMethods)} if name[0] != "_"]
    names += ["stream", "astream", "workers", "aworkers", "metrics", "ametrics"]
    names += ["close", "aclose"]
    for name in names:
        ours, theirs = getattr(HttpRuns, name), getattr(Runs, name)
        if name not in ("delete", "adelete"):
            # One run at a time is deleted over HTTP.
            assert inspect.signature(ours) == inspect.signature(theirs), name
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs), name


def test_a_run_is_started_read_and_looked_at(runs: HttpRuns, durable: InProcessAgent) -> None:
    run = runs.stream("talker", "say Good day.", thread_id="over http")
    chunks = list(run)

    assert isinstance(run, RunStream)
    assert chunks == list(durable.observe(run.run_id))
    assert [part.snapshot for part in runs.observe(run.run_id).text_parts()][-1] == "Good day."
    assert run.result(20).text == "Good day."
    assert runs.get(run.run_id) == _shown(durable.get(run.run_id))
    assert runs.result(run.run_id) == durable.result(run.run_id)
    assert runs.thread("over http") == durable.thread("over http", resource_id="ann")
    assert list(runs.observe(run.run_id, after=chunks[2].cursor)) == chunks[3:]
    runs.delete(run.run_id)
    with pytest.raises(RunNotFound):
        runs.get(run.run_id)
    runs.set_thread_title("over http", "Over HTTP")
    [info] = runs.threads(limit=1)
    assert info == durable.thread_info("over http", resource_id="ann")
    assert info.title == "Over HTTP"
    assert runs.thread_info("over http") == info
    runs.delete_thread("over http")
    assert runs.thread("over http") == []
    assert runs.thread_info("over http") is None
    with pytest.raises(ThreadNotFound):
        runs.set_thread_title("over http", None)


@pytest.mark.parametrize("name", [".", "..", "...", "~."])
def test_a_name_that_is_a_step_of_a_path_is_asked_for_over_http(
    name: str, service: HttpRuns
) -> None:
    run = service.stream("talker", "say Dots.", thread_id=name, run_id=name.replace("~", "-"))
    assert run.result(timeout=20).text == "Dots."
    assert service.get(run.run_id).run_id == run.run_id
    assert service.get(run.run_id).thread_id == name
    assert [message.role for message in service.thread(name)] == ["user", "assistant"]
    service.set_thread_title(name, "Dots")
    info = service.thread_info(name)
    assert info is not None
    assert info.title == "Dots"
    with service.follow(name) as chunks:
        assert next(iter(chunks)).run_id == run.run_id
    service.delete_thread(name)
    service.delete(run.run_id)
    with pytest.raises(RunDeleted):
        service.get(run.run_id)


def _shown(info: Any) -> Any:
    listed = {name: list(getattr(info, name)) for name in ("pending", "decisions", "inbox")}
    return dataclasses.replace(info, **listed)


def test_metrics_are_those_of_runs_for_who_may_operate(
    runs: HttpRuns, served: Served, durable: InProcessAgent
) -> None:
    runs.stream("talker", "say Good day.").result(20)
    operator = HttpRuns(served.url, token="operator")

    async def ask() -> Metrics:
        found = await operator.ametrics()
        await operator.aclose()
        return found

    def are_those_of_runs() -> bool:
        # What was done is counted a second later.
        before = durable.client.metrics()
        found = dataclasses.replace(operator.metrics(), oldest=before.oldest)
        return found == before and "steps" in found.counters

    wait_until(are_those_of_runs, "both have the same")
    assert asyncio.run(ask()).counters == operator.metrics().counters
    with pytest.raises(AccessDenied):
        runs.metrics()
    operator.close()


def test_the_same_on_an_event_loop(served: Served) -> None:
    async def use() -> None:
        runs = HttpRuns(served.url, token="ann")
        async with runs.astream("talker", "say Good day.") as run:
            chunks = [chunk async for chunk in run]
            assert isinstance(run, AsyncRunStream)
        assert (await run.result(20)).text == "Good day."
        assert (await runs.aget(run.run_id)).status == "finished"
        later = await runs.aobserve(run.run_id, after=3)
        assert [chunk async for chunk in later] == chunks[3:]
        assert run.run_id in [each.run_id for each in await runs.alist(limit=200)]
        with pytest.raises(BlockingCall):
            runs.get(run.run_id)
        asked = await runs.astream("talker", call("erase", name="it"))
        assert [chunk.type async for chunk in asked][-1] == "run-waiting"
        assert len(await asked.pending()) == 1
        await asked.approve()
        assert [chunk.type async for chunk in asked][-1] == "finish"
        await runs.aclose()

    asyncio.run(use())


def test_runs_are_listed_with_pages_and_filters(runs: HttpRuns) -> None:
    started = [runs.stream("talker", "say Hi.", thread_id="listed").run_id for _ in range(3)]
    since = datetime.now(UTC) - timedelta(hours=1)

    first = runs.list(thread_id="listed", limit=2, since=since)
    second = runs.list(thread_id="listed", limit=2, page=first.next_page)

    assert [run.run_id for run in [*first, *second]] == started[::-1]
    assert second.next_page is None


def test_what_runs_cost_is_told_over_http(runs: HttpRuns, durable: InProcessAgent) -> None:
    started = [runs.stream("talker", "say Hi.", thread_id="costly") for _ in range(3)]
    for run in started:
        run.result(20)

    first, last = runs.cost(thread_id="costly", limit=2), runs.cost(thread_id="costly")
    assert last == durable.cost(thread_id="costly", resource_id="ann")
    # Nobody knows the price of a model of the tests.
    assert (last.runs, last.cost) == (3, Cost(None, 0, 3))
    assert (first.runs, first.cost) == (2, Cost(None, 0, 2))
    rest = asyncio.run(_acost(served_at=runs, page=first.next_page))
    assert (rest.runs, rest.next_page) == (1, None)
    assert runs.get(started[0].run_id).cost == Cost(None, 0, 1)


async def _acost(served_at: HttpRuns, page: str | None) -> RunsCost:
    try:
        return await served_at.acost(thread_id="costly", page=page)
    finally:
        await served_at.aclose()


def test_people_decide_over_http(runs: HttpRuns, durable: InProcessAgent) -> None:
    run = runs.stream("talker", call("erase", name="it"), thread_id="decided")
    assert [chunk.type for chunk in run][-1] == "run-waiting"
    assert run.status == "suspended"
    [pending] = runs.pending(thread_id="decided")
    assert pending == durable.pending(thread_id="decided")[0]

    with pytest.raises(InvalidDecision):
        runs.approve(run.run_id, arguments={"nome": 1})
    after = runs.approve(run.run_id, number=pending.number, by="somebody")
    with pytest.raises(RunConflict, match="Ann"):
        runs.decline(run.run_id)

    assert [chunk.type for chunk in after][-1] == "finish"
    assert run.result(20).text == "erased it"
    with pytest.raises(NotSuspended):
        runs.resume(run.run_id, 1, number=1)


def test_errors_are_those_of_runs(runs: HttpRuns, served: Served) -> None:
    failed = runs.stream("talker", "fail")
    with pytest.raises(RunFailed):
        failed.result(20)
    finished = runs.stream("talker", "say Hi.", run_id="named-over-http")
    assert finished.result(20).text == "Hi."

    assert runs.retry(failed.run_id).run_id == failed.run_id
    with pytest.raises(NotFailed):
        runs.retry(finished.run_id)
    with pytest.raises(RunConflict):
        runs.stream("talker", "say Other.", run_id="named-over-http")
    with pytest.raises(DeclarationError):
        runs.stream("nobody", "Hi.")
    with pytest.raises(DeclarationError):
        runs.list(status="asleep")  # type: ignore[arg-type]
    with pytest.raises(RunNotFound):
        runs.observe("nothing")
    with pytest.raises(ValueError, match="cursor"):
        runs.observe(finished.run_id, after="yesterday")
    with pytest.raises(AccessDenied):
        runs.workers()
    nobody = HttpRuns(served.url)
    with pytest.raises(AccessDenied):
        nobody.get("r")
    nobody.close()


def test_a_service_asks_for_one_person_at_a_time(service: HttpRuns, runs: HttpRuns) -> None:
    mine = service.stream("talker", "say Hi.", resource_id="ann", instructions="Be kind.")

    assert mine.result(20).text == "Hi."
    assert runs.get(mine.run_id).run_id == mine.run_id
    assert service.get(mine.run_id, resource_id="ann").resource_id == "ann"
    with pytest.raises(RunNotFound):
        service.get(mine.run_id, resource_id="bob")
    with pytest.raises(RunNotFound):
        service.abort(mine.run_id, resource_id="bob")
    service.delete(mine.run_id)
    with pytest.raises((RunDeleted, RunNotFound)):
        service.get(mine.run_id)


def test_messages_are_sent_over_http(runs: HttpRuns, durable: InProcessAgent) -> None:
    run = runs.stream("talker", call("erase", name="it"), thread_id="told")
    assert [chunk.type for chunk in run][-1] == "run-waiting"
    sent = runs.send(run.run_id, "say Well?", message_id="m1", by="somebody", hold=True)

    assert sent == runs.send(run.run_id, "say Well?", message_id="m1", hold=True)
    assert sent == durable.send(run.run_id, "say Well?", message_id="m1", by="Ann", hold=True)
    assert runs.get(run.run_id).inbox == ["m1"]
    assert run.send("say And?", hold=True).number > sent.number
    third = runs.send(thread_id="told", input="say Now.")
    assert third.run_id == run.run_id
    first = next(iter(runs.observe(run.run_id, after=third.after)))
    assert (first.type, first.seq) == ("message-queued", third.number)
    runs.approve(run.run_id)
    assert run.result(20).status == "finished"
    following = runs.send(run.run_id, "say Next.")
    assert following.begins_run
    assert runs.observe(following.run_id).result(20).text == "Next."
    begun = runs.send(thread_id="told anew", input="say Hello.", agent="talker")
    assert runs.observe(begun.run_id).result(20).text == "Hello."


def test_a_stream_over_http_follows_the_run_that_took_its_input(runs: HttpRuns) -> None:
    first = runs.stream("talker", call("erase", name="it"), thread_id="taken")
    assert [chunk.type for chunk in first][-1] == "run-waiting"

    run = runs.stream("talker", "say To you.", thread_id="taken", run_id="not-begun")

    assert run.run_id == first.run_id
    assert next(iter(run)).type == "message-queued"
    with pytest.raises(RunNotFound):
        runs.get("not-begun")
    run.abort()


def test_messages_over_http_are_refused_as_those_of_runs(
    runs: HttpRuns, service: HttpRuns, durable: InProcessAgent
) -> None:
    ended = runs.stream("talker", "say Bye.")
    ended.result(20)
    with pytest.raises(RunEnded) as late:
        ended.send("say More.")
    assert (late.value.run_id, late.value.result) == (ended.run_id, None)
    with pytest.raises(ThreadNotFound, match="unheard of"):
        runs.send(thread_id="unheard of", input="say Hi.")
    with pytest.raises(DeclarationError):
        runs.send(thread_id="unheard of", input="say Hi.", agent="nobody")
    with pytest.raises(RunNotFound):
        runs.send("nothing", "say Hi.")
    run = runs.stream("talker", call("hold", name="http inbox"))
    runs.send(run.run_id, "say One.", message_id="m")
    with pytest.raises(RunConflict, match="'m'"):
        runs.send(run.run_id, "say Two.", message_id="m")
    with pytest.raises(RunNotFound):
        service.send(run.run_id, "say Hi.", resource_id="bob")
    for number in range(999):
        durable.client.send(run.run_id, "x", message_id=str(number))
    with pytest.raises(InboxFull):
        run.send("say Hi.")
    run.abort()


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ((), {}),
        (("r",), {}),
        (("r", "Hi."), {"thread_id": "t"}),
        ((None, "Hi."), {}),
        (("r", "Hi."), {"agent": "talker"}),
        (("r", "Hi."), {"hold": True, "decline": True}),
        (("r", "Hi."), {"interupt": True}),
        (("r", [{"role": "assistant", "content": "Hi."}]), {}),
    ],
    ids=str,
)
def test_wrong_messages_are_refused_alike_with_and_without_http(
    runs: HttpRuns, durable: InProcessAgent, given: Any, options: Any
) -> None:
    run = runs.stream("talker", call("erase", name="it"))
    run.result(20)
    given = tuple(run.run_id if each == "r" else each for each in given)
    for client in (runs, durable.client):
        with pytest.raises(DeclarationError):
            client.send(*given, **options)
    run.abort()


@pytest.mark.parametrize(
    "value", [math.nan, {1}, "\ud800", object()], ids=["nan", "set", "half", "object"]
)
def test_what_is_no_json_is_refused_alike_with_and_without_http(
    runs: HttpRuns, durable: InProcessAgent, value: Any
) -> None:
    for each in (runs, durable.client):
        with pytest.raises(DeclarationError):
            each.stream("talker", "say X", metadata={"a": value})
        run = each.stream("talker", 'ask {"question": "Really?"}', resource_id="ann")
        run.result()
        with pytest.raises(InvalidDecision, match="not JSON"):
            each.resume(run.run_id, value)
        run.abort()


def test_what_has_a_form_in_json_is_sent_in_it(runs: HttpRuns, durable: InProcessAgent) -> None:
    when = datetime(2026, 11, 28, tzinfo=UTC)
    run = runs.stream("talker", "say X", metadata={"when": when})
    assert durable.client.get(run.run_id).metadata == {"when": "2026-11-28T00:00:00Z"}


def test_a_message_over_http_on_an_event_loop(served: Served) -> None:
    async def use() -> None:
        runs = HttpRuns(served.url, token="ann")
        run = await runs.astream("talker", call("erase", name="it"), thread_id="told on a loop")
        assert [chunk.type async for chunk in run][-1] == "run-waiting"
        sent = await runs.asend(run.run_id, "say Well?")
        assert (await run.send("say And?")).number > sent.number
        later = await runs.aobserve(run.run_id, after=sent.after)
        assert [chunk.type async for chunk in later][:1] == ["message-queued"]
        await run.abort()
        await runs.aclose()

    asyncio.run(use())


def test_background_calls_over_http(runs: HttpRuns) -> None:
    run = runs.stream("talker", call("report", name="over-http"), until_idle=timedelta(seconds=20))
    wait_until(
        lambda: [task.status for task in runs.background_tasks(run.run_id)] == ["running"],
        "it runs",
    )
    [task] = runs.background_tasks(run.run_id)

    assert runs.background_task(task.task_id) == task
    assert runs.background_task(f"{run.run_id}:none") is None
    assert runs.cancel(task.task_id) is True
    assert run.result(20).status == "finished"


def test_attempts_over_http_tell_operators_alone_who_ran_them(
    served: Served, runs: HttpRuns
) -> None:
    run = runs.stream("talker", "say Hi.")
    run.result(20)
    operator = HttpRuns(served.url, token="operator")

    told, operated = runs.attempts(run.run_id), operator.attempts(run.run_id)
    operator.close()

    assert [(each.task, each.outcome) for each in told] == [
        ("1:model", "committed"),
        ("1:end", "committed"),
    ]
    assert {(each.worker, each.celery_id, each.reason) for each in told} == {(None, None, None)}
    assert {each.celery_id for each in operated} == {f"{run.run_id}:1:model:1"}
    assert all(each.worker and each.ended_at for each in operated)
    assert operated.left_out == 0
    assert operated.read_at >= max(each.ended_at for each in operated if each.ended_at)


def test_an_abort_over_http(runs: HttpRuns) -> None:
    run = runs.stream("talker", call("hold", name="http abort"))

    assert run.abort("enough") is True
    with pytest.raises(RunAborted):
        run.result(20)
    assert run.abort() is False


def test_a_reader_gives_up_after_its_timeout(runs: HttpRuns) -> None:
    run = runs.stream("talker", call("hold", name="http timeout"))

    with pytest.raises(TimeoutError, match="goes on"):
        list(runs.observe(run.run_id, timeout=0.3))
    with pytest.raises(TimeoutError):
        run.result(0.3)
    events = runs.observe(run.run_id, timeout=5).sse(heartbeat=0.1)
    assert ": hb\n\n" in [next(events) for _ in range(12)]
    del events
    run.abort()


def test_expired_chunks_over_http(runs: HttpRuns, durable: InProcessAgent) -> None:
    run = runs.stream("talker", "say Hi.")
    run.result(20)
    durable.client.ledger.client().delete(durable.client.keys.of(run.run_id).topic)

    with pytest.raises(RunExpired):
        list(runs.observe(run.run_id))
    assert runs.result(run.run_id).text == "Hi."


def test_a_reader_goes_on_when_the_server_is_replaced(durable: InProcessAgent) -> None:
    app = create_app(durable.client, authorize=authorize)
    port = free_port()
    first = serving(app, port)
    served = first.__enter__()
    runs = HttpRuns(served.url, token="ann", retry_for=10)
    run = runs.stream("talker", call("hold", name="replaced"))
    reading = iter(run)
    seen = [next(reading)]
    while "tool-call" not in [chunk.type for chunk in seen]:
        seen.append(next(reading))

    app.close_streams()
    first.__exit__(None, None, None)
    second = serving(create_app(durable.client, authorize=authorize), port)
    second.__enter__()
    GATES["replaced"].set()
    seen += reading

    assert seen == list(durable.observe(run.run_id))
    assert run.result(20).status == "finished"
    runs.close()
    second.__exit__(None, None, None)


def test_a_server_that_is_away_is_said_so(serve: Serve, durable: InProcessAgent) -> None:
    gone = HttpRuns(f"http://127.0.0.1:{free_port()}", token="ann", retry_for=0.1)
    with pytest.raises(LedgerUnavailable, match="could not be reached"):
        gone.get("r")
    limits = Limits(live_runs=0)
    full = HttpRuns(
        serve(create_app(durable.client, authorize=authorize, limits=limits)).url, token="ann"
    )
    with pytest.raises(LimitReached) as refused:
        full.stream("talker", "say Hi.")
    assert refused.value.retry_after == 10
    gone.close()
    full.close()


HIDDEN = """
import sys
for name in {names!r}: sys.modules[name] = None
try:
    {line}
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("names", "line", "extra"),
    [
        (["starlette"], "import evented_agent.web", "web"),
        (["itsdangerous"], "import evented_agent.web", "web"),
        (["httpx"], "import evented_agent; evented_agent.HttpRuns('http://x')", "http"),
    ],
    ids=str,
)
def test_a_missing_extra_is_named_with_the_line_that_installs_it(
    names: list[str], line: str, extra: str
) -> None:
    program = HIDDEN.format(names=names, line=line)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert f'pip install "evented-agent[{extra}]"' in found.stdout


def test_a_base_install_imports_no_extra() -> None:
    program = (
        "import sys, evented_agent, evented_agent.testing, evented_agent.cli; "
        "print([name for name in ('starlette', 'itsdangerous', 'httpx', 'fastapi', 'uvicorn', "
        "'genai_prices') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert found.stdout.strip() == "[]", found.stderr


def test_a_conversation_is_followed_over_its_runs_and_server_deploys(
    durable: InProcessAgent,
) -> None:
    port = free_port()
    app = create_app(durable, authorize=authorize)
    runs = HttpRuns(f"http://127.0.0.1:{port}", token="ann", retry_for=10)
    with serving(app, port):
        first = runs.stream("talker", "say One.", thread_id="deployed")
        first.result(20)
        stream = runs.follow("deployed", timeout=30)
        chunks = iter(stream)
        seen = [next(chunks) for _ in range(3)]
    with serving(create_app(durable, authorize=authorize), port):
        second = runs.stream("talker", "say Two.", thread_id="deployed")
        while not (seen[-1].ends_topic and seen[-1].run_id == second.run_id):
            seen.append(next(chunks))
        expected = [*runs.observe(first.run_id), *runs.observe(second.run_id)]
        assert seen == expected
        assert stream.position == (second.run_id, seen[-1].cursor)
        again = runs.follow("deployed", after=(first.run_id, expected[1].cursor), timeout=30)
        assert next(iter(again)) == expected[2]
        again.close()
        stream.close()
        with pytest.raises(RunNotFound, match="gone"):
            next(iter(runs.follow("deployed", after=("gone", 0))))
        with pytest.raises(TimeoutError, match="of thread 'nobody'"):
            next(iter(runs.follow("nobody", timeout=0.3)))
    runs.close()


def test_a_conversation_is_followed_over_http_on_an_event_loop(served: Served) -> None:
    async def follow() -> list[str]:
        runs = HttpRuns(served.url, token="ann")
        run = await runs.astream("talker", "say Hi.", thread_id="on a loop")
        found: list[str] = []
        async with await runs.afollow("on a loop", timeout=30) as stream:
            async for chunk in stream:
                found.append(chunk.type)
                if chunk.ends_topic:
                    break
        assert stream.position == (run.run_id, chunk.cursor)
        await runs.aclose()
        return found

    assert asyncio.run(follow())[-1] == "finish"
