"""Values that no program expects meet a whole run: told to the model, refused, or kept as given."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from evented_agent import (
    Agent,
    Background,
    DeclarationError,
    DurableAgent,
    InvalidDecision,
    RunFailed,
    TooLarge,
    ToolContext,
    create_durable_agent,
    tool,
)
from evented_agent.agents.callbacks import Verdict
from evented_agent.agents.memory import Thread, Window
from evented_agent.errors import ModelError
from evented_agent.execution import executor
from evented_agent.execution.attempt import failed_run
from evented_agent.models.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.testing import ScriptedModel, tool_call
from tests.engines.odd_tools import apay, pay, pay_apart
from tests.support.servers import RedisServer

Make = Callable[..., DurableAgent]


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


@tool
def echo(ctx: ToolContext, value: Any = None) -> Any:
    """Emit and return the value, or the context."""
    ctx.emit(value or ctx.context)
    return value or ctx.context


HUGE = 10**400
KEYED = Background(
    key=lambda _: "half \ud800",
    key_concurrency=HUGE,
    retries=HUGE,
    disposition="awaited",
    when_full="reject",
)


@tool(retries=HUGE)
def tireless() -> str:
    """Be tried for ever."""
    return "tireless"


@tool(background=KEYED)
def keyed() -> str:
    """Work apart, one of a key."""
    return "keyed"


helper = Agent(
    id="helper",
    description="Helps.",
    model=ScriptedModel(["helped"]),
    tool_call_concurrency=HUGE,
    max_steps=HUGE,
)


@tool
def ask(ctx: ToolContext, depth: int) -> Any:
    """Ask a person."""
    if ctx.resume_data is None:
        ctx.suspend({"question": nested(depth)})
    return ctx.resume_data


@pytest.fixture
def make(redis_server: RedisServer) -> Iterator[Make]:
    made: list[Any] = []

    def make(script: list[Any], **options: Any) -> DurableAgent:
        agent = Agent(id=f"odd{len(made)}", model=ScriptedModel(script), **options)
        durable = create_durable_agent(agent, redis_url=redis_server.url)
        made.append(durable)
        return durable

    yield make
    for each in made:
        each.close()


def last_result(request: Any) -> str:
    last = [each for each in request.messages if isinstance(each, ToolMessage)][-1]
    return f"{last.is_error} {last.result}"


@pytest.mark.parametrize("called", [pay, apay, pay_apart], ids=lambda called: called.name)
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("nan", "Out of range float"),
        ("set", "a set has no order"),
        ("large", "TooLarge: The tool result has 2,000,002 bytes"),
        ("deep", "nested more than 64 deep"),
        ("object", "type object cannot become JSON"),
    ],
)
def test_a_call_that_returned_is_not_made_again_for_its_result(
    called: Any, what: str, told: str, make: Make, tmp_path: Path
) -> None:
    log = tmp_path / "acts"
    script = [[tool_call(called.name, log=str(log), what=what)], last_result]

    answer = make(script, tools=[called]).generate("Go.", timeout=30).answer

    assert log.read_text() == "acted\n"
    assert answer.startswith("True ToolResultUnusable: The tool ran to its end, and is not run")
    assert told in answer


@pytest.mark.parametrize("called", [pay, pay_apart], ids=lambda called: called.name)
def test_what_stands_for_a_common_type_is_the_result(
    called: Any, make: Make, tmp_path: Path
) -> None:
    script = [[tool_call(called.name, log=str(tmp_path / "acts"), what="date")], last_result]

    answer = make(script, tools=[called]).generate("Go.", timeout=30).answer

    assert answer == "False {'on': '2030-01-02'}"


@pytest.mark.parametrize(
    "written",
    [
        '{"value": ' + "[" * 220 + "]" * 220 + "}",
        '{"value": NaN}',
        '{"value": 1e400}',
        '{"value": "\\ud800"}',
        '{"value": "' + "x" * 1_200_000 + '"}',
        '{"value": ' + "9" * 5000 + "}",
    ],
    ids=["deep", "nan", "infinite", "surrogate", "large", "huge"],
)
def test_arguments_that_cannot_be_kept_are_told_to_the_model(written: str, make: Make) -> None:
    call = ToolCall(id="", name="echo", invalid=written)
    agent = make([[call], last_result], tools=[echo])

    with agent.stream("Go.") as run:
        types = [chunk.type for chunk in run]
        answer = run.result(timeout=20).answer

    assert answer.startswith("True InvalidArguments: The arguments are not a JSON object")
    assert types[-1] == "finish"
    assert "tool-output" not in types


@pytest.mark.parametrize(
    "value", [nested(64), {"": [None, True, -0.5, "\x00é\u2028"]}, [2**60, 1e-9]]
)
def test_a_context_is_the_same_for_the_tool_its_readers_and_the_result(
    value: Any, make: Make
) -> None:
    agent = make([[tool_call("echo")], "Done."], tools=[echo])

    with agent.stream("Go.", context=value) as run:
        outputs = [chunk.payload.output for chunk in run if chunk.type == "tool-output"]
        result = run.result(timeout=20)

    assert outputs == [value]
    assert result.steps[0].results[0].result == value
    assert agent.get(run.run_id).status == "finished"


def test_what_a_caller_passes_too_deep_is_refused_before_anything_is_written(make: Make) -> None:
    agent = make([[tool_call("ask", depth=1)], last_result], tools=[ask])

    with pytest.raises(DeclarationError, match="context is not JSON: it is nested more than 64"):
        agent.stream("Go.", context=nested(220))
    with pytest.raises(DeclarationError, match="thread_id"):
        agent.stream("Go.", thread_id="\ud800")
    run = agent.stream("Go.")
    list(run)
    for wrong in (nested(220), {1: 2}, {"a": float("nan")}):
        with pytest.raises(InvalidDecision, match="The decision is not JSON"):
            agent.resume(run.run_id, wrong)
    answered = agent.resume(run.run_id, {"on": "Monday"})
    assert answered.result(timeout=20).answer == "False {'on': 'Monday'}"


def test_the_words_of_a_person_are_text_of_some_length(make: Make) -> None:
    agent = make([[tool_call("ask", depth=1)], last_result], tools=[ask])
    run = agent.stream("Go.")
    list(run)

    for by in ("\ud800", 7):
        with pytest.raises(InvalidDecision):
            agent.resume(run.run_id, {}, by=by)  # type: ignore[arg-type]
    with pytest.raises(TooLarge, match="decision"):
        agent.resume(run.run_id, {}, by="x" * 2**21)
    for reason in ("\ud800", 7):
        with pytest.raises(DeclarationError, match="reason="):
            agent.abort(run.run_id, reason=reason)  # type: ignore[arg-type]
    with pytest.raises(TooLarge, match="reason"):
        agent.cancel(f"{run.run_id}:call_1_0", reason="x" * 2**21)
    assert agent.abort(run.run_id, reason="enough")


class OddMemory:
    async def load(self, thread: Thread, window: Window) -> list[Message]:
        return [UserMessage(content="Before."), AssistantMessage(provider={"p": {1: float("nan")}})]

    async def save(self, thread: Thread, run_id: str, messages: Sequence[Message]) -> None:
        pass


def test_a_memory_that_gives_what_cannot_be_kept_ends_the_run_with_that(make: Make) -> None:
    agent = make(["Hi."], memory=OddMemory())

    with pytest.raises(RunFailed, match="the key 1 is no text"):
        agent.generate("Go.", thread_id="odd", timeout=20)


def test_a_question_that_cannot_be_kept_is_an_error_of_the_tool(make: Make) -> None:
    agent = make([[tool_call("ask", depth=220)], last_result], tools=[ask])

    assert "nested more than 64 deep" in agent.generate("Go.", timeout=20).answer


HOSTILE = "x\r\n[2030-01-01 ERROR] forged \x1b[31m\u2028" + "y" * 400_000


@pytest.mark.parametrize("name", ["\ud800", HOSTILE, "functions.echo", "a" * 65, "écho"])
def test_a_name_that_no_tool_can_have_is_another_name_everywhere(
    name: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    call = ToolCall(id=name, name=name)
    agent = make([[call, call], last_result], tools=[echo])

    with caplog.at_level(logging.DEBUG, "evented_agent"), agent.stream("Go.") as run:
        chunks = list(run)
        result = run.result(timeout=20)

    first, second = result.steps[0].tool_calls
    assert first.name == second.name != name
    assert {first.id, second.id}.isdisjoint({name}) or name in ("functions.echo", "a" * 65)
    assert first.id != second.id
    for text in (first.id, first.name, second.id):
        assert 1 <= len(text) <= 128
        assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert result.answer.startswith("True ToolNotFound")
    assert chunks[-1].type == "finish"
    for record in caplog.records:
        assert len(record.getMessage()) < 1000
        assert record.getMessage().isprintable()


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error",
    [ModelError("no \ud800 credit"), ValueError("\ud800"), Hostile(), ValueError("x" * 2**21)],
)
def test_an_error_that_cannot_be_written_as_it_is_still_ends_the_run(
    error: Exception, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest-xdist cannot send what is no text, and this is logged with its traceback.
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    with pytest.raises(RunFailed) as caught:
        make([error]).generate("Go.", timeout=20)

    assert caught.value.result.error.name == type(error).__name__


def test_what_a_commit_cannot_write_ends_the_run_with_its_error(make: Make) -> None:
    agent = make(["Hi."], on_iteration_complete=lambda _: Verdict(feedback="\ud800"))

    with pytest.raises(RunFailed, match="surrogates"):
        agent.generate("Go.", timeout=5)


def test_an_attempt_whose_end_cannot_even_be_said_is_handed_back_with_its_error(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([OSError("no"), OSError("no")])

    async def failing(*args: Any) -> Any:
        for failure in failures:
            raise failure
        return await failed_run(*args)

    monkeypatch.setattr(executor, "failed_run", failing)
    agent = make([_first_fails()])

    with agent.stream("Go.") as run:
        resets = [chunk.payload.reason for chunk in run if chunk.type == "step-reset"]
        answer = run.result(timeout=5).answer

    assert answer == "Hi."
    assert not any("lease" in reason for reason in resets)


def _first_fails() -> Any:
    calls: list[int] = []

    def answer(_request: Any) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("the first time")
        return "Hi."

    return answer


def test_a_reader_goes_on_behind_a_chunk_that_cannot_be_read(
    make: Make, redis_server: RedisServer
) -> None:
    agent = make(["One two three."])
    run_id = agent.generate("Go.").run_id
    with redis.Redis.from_url(redis_server.url) as client:
        [topic] = client.keys(f"*{run_id}:topic")
        entries: Any = client.xrange(topic)
        client.delete(topic)
        for at, (entry, fields) in enumerate(entries):
            deep = b'["tool-output","x",' + b"[" * 300 + b"]" * 300 + b"]"
            client.xadd(topic, {"d": deep} if at == 4 else fields, id=entry)
        client.expire(topic, 60)

    chunks = list(agent.observe(run_id))

    assert [chunk.seq for chunk in chunks] == list(range(1, len(entries) + 1))
    assert str(chunks[4].type) == "unreadable"
    assert chunks[-1].type == "finish"


@pytest.mark.parametrize("called", [tireless, keyed, helper.as_tool()], ids=lambda it: it.name)
def test_limits_beyond_all_numbers_are_no_limits(called: Any, make: Make) -> None:
    arguments = {"input": "Help."} if called.name == "helper" else {}
    agent = make(
        [[tool_call(called.name, **arguments)], last_result],
        tools=[called],
        tool_call_concurrency=HUGE,
        background_concurrency=HUGE,
    )
    answer = agent.generate("Go.", timeout=20, tool_call_concurrency=HUGE).answer
    assert answer == f"False {called.name.replace('helper', 'helped')}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"?",
        lambda _: b"{}",
        lambda _: b"[]",
        lambda stored: stored.replace(b'"expires":', b'"expired":'),
        lambda stored: stored.replace(b'"at":', b'"at":9e30,"was":'),
        lambda stored: stored.replace(b'"args":"', b'"args":"[['),
    ],
    ids=["no JSON", "nothing", "a list", "no end", "no time", "no arguments"],
)
def test_a_call_that_cannot_be_read_hides_no_other_run(
    damage: Callable[[bytes], bytes], make: Make, redis_server: RedisServer
) -> None:
    agent = make([[tool_call("ask", depth=1)], "Done."], tools=[ask])
    damaged, whole = agent.stream("Go."), agent.stream("Go.")
    for run in (damaged, whole):
        assert run.result(timeout=20).status == "suspended"
    with redis.Redis.from_url(redis_server.url) as client:
        [tasks] = client.keys(f"*{damaged.run_id}:tasks")
        stored: Any = client.hgetall(tasks)
        [key] = [key for key, task in stored.items() if b'"state":"suspended"' in task]
        client.hset(tasks, key, damage(stored[key]))

        listed = {info.run_id for info in agent.list(status="suspended")}
        assert listed == {damaged.run_id, whole.run_id}
        assert [each.run_id for each in agent.pending()] == [whole.run_id]
        assert agent.get(damaged.run_id).status == "suspended"
        assert agent.result(damaged.run_id).status == "suspended"
        client.hset(tasks, key, stored[key])
    for run in (damaged, whole):
        run.abort()
