"""What is deleted is nowhere any more: no key of Redis has a word of it, whoever comes back."""

import asyncio
import dataclasses
import threading
from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from evented_agent import (
    Agent,
    DeclarationError,
    DurableAgent,
    RunDeleted,
    RunNotFound,
    Runs,
    Settings,
    ToolContext,
    create_durable_agent,
    create_evented_agent,
    tool,
)
from evented_agent.chunks import Usage
from evented_agent.engines.celery.tasks import taker_of_results
from evented_agent.execution.attempt import Ending
from evented_agent.ledger import limits, threads
from evented_agent.ledger.keys import thread_name
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

WORD = "Xylophone"
#: Beyond what is kept beside its pointer.
LARGE = WORD * 40_000
GATE = threading.Event()
BEGUN = threading.Event()


@tool
def read_diary(ctx: ToolContext, page: str) -> str:
    """Read a page that is large."""
    ctx.emit({"page": page})
    return LARGE


@tool(background=True)
def print_diary(page: str) -> str:
    """Print it, in the background."""
    return f"printed {page}"


@tool(requires_approval=True)
def burn_diary(page: str) -> str:
    """Burn it, once somebody agrees."""
    return f"burnt {page}"


@tool
def linger() -> str:
    """Wait until the test lets it go on."""
    BEGUN.set()
    GATE.wait(20)
    return WORD


def history(request: ModelRequest) -> str:
    return f"seen: {sum(WORD in str(message) for message in request.messages)}"


diarist = Agent(
    id="diarist",
    model=ScriptedModel(
        [
            Say(
                f"{WORD} first.",
                [tool_call("read_diary", page=WORD), tool_call("print_diary", page=WORD)],
            ),
            [tool_call("burn_diary", page=WORD)],
            f"{WORD} is no more.",
        ]
    ),
    tools=[read_diary, print_diary, burn_diary],
)
speaker = Agent(id="diary-speaker", model=ScriptedModel([history]))
lingerer = Agent(
    id="lingerer", model=ScriptedModel([[tool_call("linger")], f"{WORD}."]), tools=[linger]
)


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
def engines(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator["Engines"]:
    made = Engines(redis_server.url, f"erasure{request.param}", request.param)
    yield made
    GATE.set()
    for each in made.started:
        each.close()  # type: ignore[attr-defined]


class Engines:
    def __init__(self, url: str, prefix: str, shards: int) -> None:
        GATE.clear()
        BEGUN.clear()
        self.url, self.settings = url, Settings(prefix=prefix, shards=shards)
        self.started: list[DurableAgent] = []

    def __call__(self, agent: Agent) -> DurableAgent:
        engine = create_durable_agent(agent, redis_url=self.url, settings=self.settings)
        self.started.append(engine)
        return engine


def keys_with(url: str, word: str = WORD) -> list[str]:
    """The keys, of whatever type, that have *word* in them."""
    with redis.Redis.from_url(url) as client:
        return [
            key.decode()
            for key in client.scan_iter(count=1000)
            if word.encode() in key or word.encode() in _content(client, key)
        ]


def _content(client: redis.Redis, key: bytes) -> bytes:
    match client.type(key):
        case b"string":
            return client.get(key) or b""  # type: ignore[return-value]
        case b"hash":
            found: object = client.hgetall(key)
        case b"list":
            found = client.lrange(key, 0, -1)
        case b"zset":
            found = client.zrange(key, 0, -1)
        case b"set":
            found = client.smembers(key)
        case b"stream":
            found = client.xrange(key)
        case _:
            return b""
    return repr(found).encode()


def full_run(engine: DurableAgent, run_id: str, **options: str) -> None:
    """A run that has said the word wherever it can, and waits for a person."""
    run = engine.stream(
        f"{WORD}?",
        run_id=run_id,
        context={"secret": WORD},
        thread_id=options.get("thread_id", "diary"),
        resource_id="ann",
    )
    wait_until(lambda: run.status == "suspended", "the run waits for a person")


def test_a_deleted_run_leaves_no_word(engines: Engines) -> None:
    engine, listener = engines(diarist), engines(speaker)
    full_run(engine, "full")
    kinds = {key.rpartition(":")[2] for key in keys_with(engines.url)}
    assert {"run", "tasks", "journal", "topic", "blobs"} <= kinds
    engine.approve("full")
    wait_until(lambda: engine.get("full").is_ended, "the run has ended")
    assert engine.thread("diary", resource_id="ann")

    engine.delete("full")

    assert keys_with(engines.url) == []
    assert engine.thread("diary", resource_id="ann") == []
    with pytest.raises(RunDeleted):
        engine.get("full")
    assert listener.generate("Hello").text == "seen: 0"


def test_the_next_run_of_a_thread_is_not_told_what_was_deleted(engines: Engines) -> None:
    engine = engines(speaker)
    for run_id, text in (("a", "Hello"), ("b", WORD), ("c", "Goodbye")):
        engine.generate(text, run_id=run_id, thread_id="talk", resource_id="ann")
    assert (
        engine.generate("And?", run_id="d", thread_id="talk", resource_id="ann").text == "seen: 1"
    )

    engine.delete("b")
    assert (
        engine.generate("And now?", run_id="e", thread_id="talk", resource_id="ann").text
        == "seen: 0"
    )
    said = [str(message.content) for message in engine.thread("talk", resource_id="ann")]  # type: ignore[union-attr]
    assert said[:4] == ["Hello", "seen: 0", "Goodbye", "seen: 1"]
    assert engine.delete(resource_id="ann") == 4


def test_a_run_that_is_under_way_does_not_come_back(engines: Engines) -> None:
    engine = engines(lingerer)
    engine.stream(WORD, run_id="zombie", thread_id="talk", resource_id="ann")
    assert BEGUN.wait(20)

    engine.delete("zombie")
    GATE.set()
    # What an attempt that was frozen for long would write at last.
    name = thread_name("talk", "ann")
    late = threads.remember(
        engine.client.keys,
        name,
        "zombie",
        journal_length=99,
        entry=f'["zombie",["{WORD}"]]',
        ttl_ms=9000,
    )
    assert not engine.client.ledger.send(late)
    engine.delete_thread("talk", resource_id="ann")
    assert not engine.client.ledger.send(late)
    wait = threads.enter(engine.client.keys, name, "zombie", ttl_ms=9000)
    assert engine.client.ledger.send(wait).holder == "zombie"
    assert engine.thread_info("talk", resource_id="ann") is None

    assert keys_with(engines.url) == []
    assert engine.thread("talk", resource_id="ann") == []


def test_forgetting_again_changes_nothing_for_the_others(engines: Engines) -> None:
    runs = engines(speaker).client
    for run_id in ("a", "b"):
        runs.ledger.send(
            threads.remember(
                runs.keys, "n", run_id, journal_length=1, entry=f'["{run_id}",[]]', ttl_ms=9000
            )
        )
    for _ in range(2):
        runs.ledger.send(threads.forget_run(runs.keys, "n", "a", ttl_ms=9000))

    assert runs.ledger.send(threads.recall(runs.keys, "n", most=1)) == [b'["b",[]]']
    assert runs.ledger.send(threads.recall(runs.keys, "n", most=9)) == [b'["b",[]]']


def test_a_conversation_whose_run_was_never_created_goes_too(engines: Engines) -> None:
    runs = engines(speaker).client
    # Its caller died between the two.
    waits = threads.enter(runs.keys, thread_name("never", "ann"), "never", ttl_ms=90_000)
    runs.ledger.send(waits)
    assert [each.thread_id for each in runs.threads(resource_id="ann")] == ["never"]
    assert runs.delete(resource_id="ann") == 0
    assert runs.threads(resource_id="ann") == []
    assert "never" not in [each.thread_id for each in runs.threads()]


def test_all_of_a_person_goes_and_nothing_of_another(engines: Engines) -> None:
    engine, talk = engines(diarist), engines(speaker)
    full_run(engine, "whole")
    for number in range(60):
        engine.stream(
            WORD,
            run_id=f"r{number}",
            resource_id="ann",
            thread_id=f"t{number % 3}",
            when_busy="parallel",
        )
    talk.generate("Hello", run_id="other", resource_id="bob", thread_id="diary")

    assert engine.delete(resource_id="ann") == 61
    assert asyncio.run(engine.adelete(resource_id="ann")) == 0

    wait_until(lambda: keys_with(engines.url) == [], "what is under way has been fenced")
    assert keys_with(engines.url, "diary:3:ann") == []
    assert {info.resource_id for info in talk.list()} == {None, "bob"}
    assert len(talk.thread("diary", resource_id="bob")) == 2
    talk.delete("other")


def test_a_conversation_goes_although_the_records_of_its_runs_have_expired(
    engines: Engines,
) -> None:
    engine = engines(speaker)
    engine.generate(WORD, run_id="old", resource_id="ann", thread_id="talk")
    with redis.Redis.from_url(engines.url) as client:
        for key in client.keys(f"{engine.client.keys.prefix}:*:old:*"):
            client.delete(key)
    assert engine.list(resource_id="ann") == []

    assert engine.delete(resource_id="ann") == 0
    assert keys_with(engines.url) == []


def test_a_deletion_of_nothing_in_particular_is_refused(engines: Engines) -> None:
    engine = engines(speaker)
    engine.generate("Hello", run_id="kept", resource_id="ann")
    with pytest.raises(RunNotFound):
        engine.delete(None, resource_id="ann")  # type: ignore[call-overload]
    with pytest.raises(RunNotFound):
        engine.delete("", resource_id="ann")
    with pytest.raises(RunNotFound):
        engine.delete("kept", resource_id="bob")
    with pytest.raises(DeclarationError, match="Say what to delete"):
        engine.delete()  # type: ignore[call-overload]
    assert engine.get("kept").status == "finished"
    engine.delete("kept", resource_id="ann")


def test_a_background_call_that_waits_for_a_slot_waits_no_more(redis_server: RedisServer) -> None:
    settings = Settings(prefix="erasure-slots", background_concurrency=0)
    engine = create_durable_agent(diarist, redis_url=redis_server.url, settings=settings)
    keys = engine.client.keys
    engine.stream("Print it.", run_id="waits")
    waiting = limits.release_slot(keys, "nobody", (), most=9)
    wait_until(lambda: bool(engine.client.ledger.send(waiting)), "the call waits for a slot")

    engine.delete("waits")
    wait_until(lambda: engine.client.ledger.send(waiting) == [], "nobody waits")
    engine.close()


def ending(run_id: str) -> Ending:
    return Ending(run_id, "diary-speaker", "finished", WORD, "stop", Usage())


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
def test_the_copy_in_the_result_backend_goes(redis_server: RedisServer) -> None:
    app = Celery("erasure", broker=redis_server.url, backend=redis_server.url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": "erasure-broker:"}
    settings = Settings(prefix="erasure-celery")
    evented = create_evented_agent(speaker, app=app, redis_url=redis_server.url, settings=settings)
    for run_id, resource in (("one", "ann"), ("two", "bob")):
        evented.stream("Hello", run_id=run_id, resource_id=resource)
        take = taker_of_results(app)
        assert take is not None
        take(ending(run_id))
    assert len(keys_with(redis_server.url)) == 2

    evented.delete("one")
    assert asyncio.run(evented.adelete(resource_id="bob")) == 1
    assert keys_with(redis_server.url) == []


def test_an_app_without_a_result_backend_has_nothing_to_forget(redis_server: RedisServer) -> None:
    app = Celery("erasure-bare", broker="redis://127.0.0.1:1/0", set_as_current=False)
    settings = Settings(prefix="erasure-bare")
    evented = create_evented_agent(speaker, app=app, redis_url=redis_server.url, settings=settings)
    evented.stream("Hello", run_id="one")
    evented.delete("one")


def test_a_copy_that_is_stored_while_its_run_is_deleted_goes_too(engines: Engines) -> None:
    engine = engines(speaker)
    engine.start()  # type: ignore[attr-defined]
    stored: list[str] = []
    executor = engine._engine._executor  # type: ignore[attr-defined]

    def on_ending(ending: Ending) -> None:
        Runs(engines.url, settings=engine.client.settings).delete(ending.run_id)
        stored.append(ending.run_id)

    executor._process = dataclasses.replace(
        executor._process, on_ending=on_ending, on_deleted=stored.remove
    )
    seen: list[bool] = []
    engine.stream(WORD, run_id="late")

    def is_settled() -> bool:
        seen.append(bool(stored))
        return not stored and keys_with(engines.url) == []

    wait_until(lambda: _is_deleted(engine, "late") and is_settled(), "the copy is gone")


def _is_deleted(engine: DurableAgent, run_id: str) -> bool:
    try:
        engine.get(run_id)
    except RunDeleted:
        return True
    return False
