"""A call that is written wrongly is refused where it is made, with what to write instead."""

import asyncio
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from evented_agent import (
    Agent,
    ConfigurationError,
    DeclarationError,
    InvalidCursor,
    RunNotFound,
    Runs,
    Settings,
    create_durable_agent,
    create_evented_agent,
    tool,
)
from evented_agent.testing import ScriptedModel

#: Nothing listens there: what is refused is refused before anything is written.
NOWHERE = "redis://127.0.0.1:1/0"
runs: Any = Runs(NOWHERE)
parrot: Any = create_durable_agent(
    Agent(id="parrot", model=ScriptedModel(["Hello."])), redis_url=NOWHERE
)


def look(order: int) -> str:
    """Look at an order."""
    return str(order)


def awaited(call: Callable[[], Any]) -> Callable[[], Any]:
    async def wait() -> Any:
        return await call()

    return lambda: asyncio.run(wait())


evented: Any = create_evented_agent(
    Agent(id="parrot", model=ScriptedModel(["Hello."])), redis_url=NOWHERE, app=Celery("wrong")
)
declare: Any = Agent
decorate: Any = tool


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: evented.generate("Hi", timeout="1s"), "timeout='1s': pass seconds from 0 up"),
        (awaited(lambda: evented.agenerate("Hi", timeout="1s")), "timeout='1s': pass seconds"),
        (lambda: evented.generate("Hi", timeout=-1), "timeout=-1: pass seconds from 0 up"),
        (lambda: evented.stream("Hi", thred_id="t"), "'thred_id'. Did you mean 'thread_id'?"),
        (awaited(lambda: evented.astream("Hi", reource_id="x")), "Did you mean 'resource_id'?"),
        (lambda: evented.stream("Hi", zzz=1), "It takes: active_tools, close_on_suspend,"),
        (lambda: evented.stream(""), "a user's, is empty"),
        (lambda: evented.stream(" \n"), "a user's, is empty"),
        (lambda: evented.stream([{"role": "user", "content": ""}]), "a user's, is empty"),
        (lambda: evented.stream([{"role": "user", "content": []}]), "a user's, is empty"),
        (lambda: evented.stream("Hi", thread_id=""), "use a text of 1 to 256 characters"),
        (lambda: runs.approve("r", tol_call_id="c"), "Did you mean 'tool_call_id'?"),
        (awaited(lambda: runs.aresume("r", {}, By="me")), "unexpected keyword argument 'By'"),
        (lambda: runs.list(since="1h"), "since='1h': pass a datetime"),
        (lambda: runs.list(limit="5"), "limit='5': pass a whole number, 1 or more"),
        (lambda: runs.pending(limit=0), "limit=0: pass a whole number"),
        (lambda: runs.list(page=5), "page=5: pass a text"),
        (lambda: runs.list(agent=5), "agent=5: pass a text"),
        (lambda: runs.list(agent="\udcff"), r"agent='\udcff': pass a text"),
        (lambda: runs.cost(thread_id="\udcff"), r"thread_id='\udcff': pass a text"),
        (lambda: runs.delete(resource_id="\udcff"), r"resource_id='\udcff': use a text"),
        (lambda: runs.delete(resource_id=5), "resource_id=5: use a text"),
        (lambda: runs.approve("r", number=True), "number=True: pass a whole number, 1 or more"),
        (lambda: runs.decline("r", number="7"), "number='7': pass a whole number"),
        (lambda: runs.resume("r", 1, tool_call_id=["c"]), "tool_call_id=['c']: pass a text"),
        (lambda: runs.approve("r", tool_call_id="\udcff"), r"tool_call_id='\udcff': pass a text"),
        (lambda: runs.send(thread_id="t", input="Hi", agent=["a"]), "agent=['a']: pass a text"),
        (lambda: runs.follow("t", agent=5), "agent=5: pass a text"),
        (lambda: runs.follow("t", after="r1"), "after='r1': pass the position of a stream"),
        (lambda: runs.follow("t", after=("r1",)), "after=('r1',): pass the position"),
        (lambda: evented.stream("Hi", queue=True), "queue=True: use a text of 1 to 256 characters"),
        (lambda: evented.stream("Hi", queue="\udcff"), r"queue='\udcff': use a text"),
        (lambda: runs.thread(5), "thread_id=5: use a text"),
        (lambda: runs.delete_thread(""), "thread_id='': use a text"),
        (lambda: runs.threads(resource_id=5), "resource_id=5: use a text"),
        (lambda: runs.threads(since="1h"), "since='1h': pass a datetime"),
        (lambda: runs.threads(limit=0), "limit=0: pass a whole number"),
        (lambda: runs.threads(page="x"), "page='x': pass the next_page"),
        (lambda: runs.set_thread_title("t", "x" * 201), "use a text of up to 200 characters"),
        (lambda: Runs(settings={"prefix": "x"}), "pass Settings(…)"),  # type: ignore[arg-type]
        (lambda: create_durable_agent("clerk"), "'clerk' is no agent"),  # type: ignore[arg-type]
        (lambda: create_evented_agent("clerk"), "'clerk' is no agent"),  # type: ignore[arg-type]
        (lambda: create_evented_agent(parrot.agent, app="shop"), "is no Celery app"),  # type: ignore[arg-type]
        (lambda: declare(id="a", model="openai/x", instrctions="Be kind."), "'instructions'?"),
        (lambda: declare(id="a", model="openai/x", on_finsh=print), "mean 'on_finish'?"),
        (lambda: decorate(timeot=3)(look), "Did you mean 'timeout'?"),
    ],
)
def test_a_wrong_call_is_refused_with_what_to_write(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        call()

    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shards": "2"}, "shards='2': pass a whole number"),
        ({"shards": True}, "shards=True: pass a whole number"),
        ({"max_bytes": "1 MB"}, "max_bytes='1 MB'"),
        ({"background_concurrency": -1}, "background_concurrency=-1"),
        ({"prefix": 5}, "prefix=5: use letters"),
        ({"queue": None}, "queue=None: use letters"),
        ({"lease": "3s"}, "lease='3s': pass seconds"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(**options)

    assert says in str(refused.value)


def test_spans_of_time_are_seconds_or_a_timedelta_in_every_setting() -> None:
    assert Settings(lease=3) == Settings(lease=timedelta(seconds=3)) == Settings()


@pytest.mark.parametrize("cursor", ["rubbish", "-1", "", None, 1.5, "1-x"])
def test_what_is_no_cursor_is_an_error_of_ours_that_a_web_application_can_map(cursor: Any) -> None:
    with pytest.raises(InvalidCursor, match="is no cursor"):
        runs.observe("r", after=cursor)
    with pytest.raises(ValueError, match="is no cursor"):
        asyncio.run(runs.aobserve("r", after=cursor))


@pytest.mark.parametrize("name", ["cancel", "background_task"])
def test_what_is_no_task_id_names_no_run(name: str) -> None:
    with pytest.raises(RunNotFound):
        getattr(runs, name)({})


def test_a_listener_that_nobody_would_await_is_refused() -> None:
    async def listener(_: object) -> None: ...

    from evented_agent import RunStream

    stream: Any = RunStream(runs, "r")
    with pytest.raises(DeclarationError, match="is async, and nobody awaits it here"):
        stream.listen(on_chunk=listener)
    with pytest.raises(DeclarationError, match="Did you mean 'on_finish'"):
        stream.listen(on_finished=print)


def test_a_forgotten_await_warns_as_a_coroutine_does() -> None:
    async def handler() -> None:
        evented.astream("Hi")

    with pytest.warns(RuntimeWarning, match=r"'EventedAgent\.astream' was never awaited"):
        asyncio.run(handler())


def test_a_start_is_a_coroutine_wherever_one_is_taken() -> None:
    starting = evented.astream("Hi")
    assert asyncio.iscoroutine(starting)
    starting.close()

    async def gathered() -> list[Any]:
        calls = [evented.astream(""), evented.astream("", run_id="x")]
        return await asyncio.gather(*map(asyncio.create_task, calls), return_exceptions=True)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = asyncio.run(gathered())
    assert [type(each) for each in found] == [DeclarationError, DeclarationError]
