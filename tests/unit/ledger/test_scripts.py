"""The Lua scripts: what a header says is what the script does, and what its function sends."""

import inspect
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

import evented_agent
from evented_agent.ledger import attempts, counters, indexes, limits, runs, threads, watch, workers
from evented_agent.ledger.attempts import Worker
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Decision, NewMessage, NewTask, Task, Work
from evented_agent.ledger.script import Command, Header, command, script
from evented_agent.ledger.tree_records import NewChild
from tests.support.servers import RedisServer

LUA = Path(evented_agent.__file__).parent / "ledger" / "lua"
PATHS = {
    f"{path.parent.name}/{path.stem}": path.read_text(encoding="utf-8")
    for path in sorted(LUA.glob("*/*.lua"))
}
SHARED = {path.removeprefix("shared/"): PATHS[path] for path in PATHS if path.startswith("shared/")}
SCRIPTS = [path for path in PATHS if not path.startswith("shared/")]

KEYS = Keys()
INDEX = ("all", "")
WORKER = Worker("w", "node/1", 3000)
TASK = Task("r", "1:model", "model", step=1, state="running", generation=1, token="t")
FIRST = NewTask("1:model", "model", 1)
LIVE = workers.LiveWorker("w", "node", queues=["q"], agents=["a"], pool="prefork", slots=1)
CHILD = NewChild("b", 4, "[]")
DECISION = Decision("digest", "approved", "{}")
MESSAGE = NewMessage("m", digest="d", entry="{}", chunk="[]")

#: Each function that calls a script, with a call of it.
CALLS: dict[Callable[..., Command[Any]], Command[Any]] = {
    attempts.claim: attempts.claim(
        KEYS, "r", "1:model", token="t", worker=WORKER, newest=1, agents=["a"]
    ),
    attempts.append: attempts.append(KEYS, "r", "1:model", token="t", sent=0, chunks=["c"]),
    attempts.heartbeat: attempts.heartbeat(KEYS, "r", "1:model", token="t", lease_ms=1),
    attempts.commit: attempts.commit(
        KEYS, TASK, sent=0, work=Work(["c"], ["e"]), worker=WORKER, end_token="u"
    ),
    attempts.suspend: attempts.suspend(KEYS, TASK, sent=0, chunks=["c"], ask="a", asked="{}"),
    attempts.spawn: attempts.spawn(KEYS, TASK, sent=0, chunks=["c"], child=CHILD),
    attempts.requeue: attempts.requeue(KEYS, TASK, delay_ms=0, reason="why", change={}),
    attempts.release: attempts.release(KEYS, "r", worker="w", reason="why"),
    attempts.close: attempts.close(KEYS, TASK, sent=0, work=Work(chunks=["c"]), journal_length=1),
    attempts.store_blob: attempts.store_blob(KEYS, TASK, name="n", payload="p"),
    runs.create: runs.create(
        KEYS, "r", digest="d", fields={"v": 1}, indexes=[INDEX], first=FIRST, chunks=["c"]
    ),
    runs.read: runs.read(KEYS, "r"),
    runs.read_attempts: runs.read_attempts(KEYS, "r"),
    runs.resume: runs.resume(KEYS, "r", call="c", number=0, decision=DECISION, notifies=True),
    runs.resume_all: runs.resume_all(KEYS, "r", [("c", 0, DECISION)], notifies=True),
    runs.retry_failed: runs.retry_failed(KEYS, "r", notifies=True),
    runs.put_message: runs.put_message(KEYS, "r", MESSAGE, notifies=True),
    runs.yield_turn: runs.yield_turn(KEYS, "r", number=1),
    runs.cancel: runs.cancel(KEYS, "r", call="c", reason="why"),
    runs.abort: runs.abort(KEYS, "r", reason=None),
    runs.delete: runs.delete(KEYS, "r", indexes=[INDEX], tombstone_ms=1),
    watch.tick: watch.tick(
        KEYS, 0, watchdog="w", lock_ms=1, since=watch.Since(), most=1, lease_ms=3000
    ),
    watch.reconcile: watch.reconcile(
        KEYS, "r", look=watch.Tick(is_watching=True, now=1), may_send=True, jitter=0.5
    ),
    watch.whose: watch.whose(KEYS, ["r", "s"]),
    watch.ring: watch.ring(KEYS, 0, after_ms=1, most=1),
    watch.wake: watch.wake(KEYS, "r", "1:model"),
    watch.give_up_run: watch.give_up_run(KEYS, "r"),
    threads.enter: threads.enter(KEYS, "t", "r", ttl_ms=1),
    threads.leave: threads.leave(KEYS, "t", "r", number=1),
    threads.next_turn: threads.next_turn(KEYS, "t", "r"),
    threads.bind: threads.bind(KEYS, "t", "m", ttl_ms=1, otherwise="r"),
    threads.remember: threads.remember(KEYS, "t", "r", journal_length=1, entry="e", ttl_ms=1),
    threads.recall: threads.recall(KEYS, "t", most=1),
    threads.forget_run: threads.forget_run(KEYS, "t", "r", ttl_ms=1),
    threads.drop: threads.drop(KEYS, "t"),
    threads.retitle: threads.retitle(KEYS, "t", "Title"),
    threads.look_at: threads.look_at(KEYS, "t"),
    threads.look_at_listed: threads.look_at_listed(KEYS, 0, "d" * 32),
    workers.announce: workers.announce(KEYS, LIVE),
    workers.announce_leaving: workers.announce_leaving(KEYS, "w"),
    workers.live_workers: workers.live_workers(KEYS),
    workers.add_prefix: workers.add_prefix(KEYS, "ea.a"),
    workers.prefixes: workers.prefixes(KEYS),
    workers.deployment: workers.deployment(KEYS),
    indexes.list_index: indexes.list_index(KEYS, 0, INDEX, since=0, offset=0, limit=1),
    indexes.count_common: indexes.count_common(KEYS, 0, INDEX, ["queued", "running"], most=1),
    indexes.forget: indexes.forget(KEYS, 0, INDEX, ["r"]),
    indexes.oldest: indexes.oldest("index", before=1, offset=0, limit=1),
    indexes.forget_gone: indexes.forget_gone(KEYS, "index", ["r", "s"]),
    indexes.forget_gone_threads: indexes.forget_gone_threads(KEYS, 0, "index", ["d", "e"]),
    indexes.trim: indexes.trim(KEYS, 0, "failed", agents=["a"], ended_before=1),
    counters.add_counts: counters.add_counts(KEYS, "w", 1, {("steps", "a"): 1}, is_again=False),
    counters.read_counts: counters.read_counts(KEYS),
    counters.read_series: counters.read_series(KEYS, counters.HOUR),
    counters.about_ended: counters.about_ended(KEYS, ["r", "s"]),
    counters.take_ended: counters.take_ended(KEYS, 0),
    counters.gauges: counters.gauges(KEYS, 0, ["a"]),
    counters.count_idle: counters.count_idle(KEYS, ["r"]),
    limits.take_slot: limits.take_slot(KEYS, "r", {"limit": 1}, ttl_ms=1),
    limits.release_slot: limits.release_slot(KEYS, "r", ["limit"], most=1, gone=["s"]),
    limits.count_slots: limits.count_slots(KEYS, ["limit"]),
}

every_file = pytest.mark.parametrize("path", PATHS)
every_script = pytest.mark.parametrize("path", SCRIPTS)
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=[each.__name__ for each in CALLS])


def _code(source: str) -> str:
    return re.sub(r"--.*", "", source)


def _names_used(source: str) -> set[str]:
    """Words of the code that may be locals: no texts, no fields."""
    return set(re.findall(r"(?<![.\w])[A-Za-z_]\w*", re.sub(r"'[^']*'", "''", _code(source))))


def _defined(source: str) -> set[str]:
    """Locals that whatever comes after this file sees."""
    found = re.findall(r"^local (?:function )?([\w, ]+)", source, re.MULTILINE)
    return {name.strip() for names in found for name in names.split(",")}


def _with_theirs(names: tuple[str, ...]) -> set[str]:
    """Shared files with those that they include."""
    found = set(names)
    for name in names:
        found |= _with_theirs(Header.of(SHARED[name]).include)
    return found


def test_every_script_is_called_by_a_function_above_and_every_function_is_there() -> None:
    modules = (attempts, runs, watch, threads, workers, indexes, limits, counters)
    calling = {
        function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        if str(function.__annotations__["return"]).startswith("evented_agent.ledger.script.Command")
    }

    assert set(CALLS) == calling
    called = sorted({call.script.name for call in CALLS.values()})
    assert called == sorted(path.partition("/")[2] for path in SCRIPTS)


@every_call
def test_a_call_has_the_keys_and_arguments_that_the_header_names(call: Command[Any]) -> None:
    header = call.script.header
    more_keys = len(call.keys) - len(header.keys)
    more = len(call.args) - len(header.arguments)

    assert more_keys > 0 if header.keys_rest else more_keys == 0
    assert more > 0 if header.rest else more == 0


@every_call
def test_a_runs_keys_have_their_own_names(call: Command[Any]) -> None:
    record = KEYS.of("r")
    if "journal" in call.script.header.keys:
        own = dict(zip(call.script.header.keys, call.keys, strict=False))
        statuses = [key for key in call.keys if ":status:" in key]

        assert all(getattr(record, name) == own[name] for name in list(own)[:7])
        assert statuses in ([], list(record.statuses))
        assert call.args[0] == "r"


@pytest.mark.parametrize(
    "arguments",
    [
        {"run_id": "r"},
        {"key": "1:model", "run_id": "r"},
        {"run_id": "r", "key": "1:model", "rest": ["more"]},
    ],
    ids=["one is missing", "in another order", "more than the header has"],
)
def test_arguments_that_the_header_does_not_name_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Script watch/wake takes run_id key, not"):
        command("watch/wake", (), bool, **arguments)


@every_file
def test_a_header_has_its_form(path: str) -> None:
    source = PATHS[path]
    first, *lines = takewhile(lambda line: line.startswith("--"), source.splitlines())
    words = [line.split()[1] for line in lines if line.split()[1].isupper()]
    is_shared = path.startswith("shared/")

    assert re.fullmatch(rf"-- {path.partition('/')[2]}: .+\.", first)
    assert words == [word for word in ("INCLUDE", "KEYS", "ARGV", "RETURNS") if word in words]
    assert is_shared or {"KEYS", "RETURNS"} <= set(words)
    assert not is_shared or "RETURNS" not in words
    assert all(len(line) <= 100 for line in source.splitlines())


@every_file
def test_arguments_and_keys_have_names_and_no_numbers(path: str) -> None:
    assert not re.findall(r"(?:ARGV|KEYS)\[\d", _code(PATHS[path]))


@every_script
def test_the_header_has_every_status_that_the_script_returns(path: str) -> None:
    code = _code(PATHS[path])
    either = re.findall(r"return \{[^{}]* and '([a-z-]+)' or '([a-z-]+)'\}", code)
    returned = {status for pair in either for status in pair}
    returned |= set(re.findall(r"return \{'([a-z-]+)'", code))
    returned |= set(re.findall(r"leave_it\('([a-z-]+)'\)", code))
    if "return {state}" in code:
        returned |= {"deleted", "missing"}
    replies = script(path).header.replies

    if replies.startswith("("):
        assert returned == set()
    else:
        assert returned == {reply.split()[0] for reply in replies.split("|")}


@every_script
def test_a_script_includes_what_it_uses_and_nothing_else(path: str) -> None:
    header = Header.of(PATHS[path])
    used = _names_used(PATHS[path]) | set(header.arguments)
    needed = {name for name, source in SHARED.items() if _defined(source) & used}

    assert set(header.include) <= needed
    assert needed <= _with_theirs(header.include)


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_file_includes_what_it_uses_and_is_included(name: str) -> None:
    used = _names_used(SHARED[name])
    needed = {other for other, source in SHARED.items() if _defined(source) & used} - {name}
    including = {other for source in PATHS.values() for other in Header.of(source).include}

    assert needed <= _with_theirs(Header.of(SHARED[name]).include)
    assert name in including


@every_script
def test_a_script_holds_the_shared_functions_that_it_needs_and_no_others(path: str) -> None:
    source = script(path).source
    shared = set(re.findall(r"^local function (\w+)", "".join(SHARED.values()), re.MULTILINE))
    held = set(re.findall(r"^local function (\w+)", source, re.MULTILINE)) & shared
    once = re.sub(r"^(local function \w+)", "local function", source, flags=re.MULTILINE)

    assert held == _names_used(once) & shared


@every_script
def test_no_argument_hides_behind_a_shared_name(path: str) -> None:
    header = Header.of(PATHS[path])
    shared = {name for other in _with_theirs(header.include) for name in _defined(SHARED[other])}

    assert not shared & set(header.arguments)


def test_a_script_must_have_the_keys_that_a_shared_file_expects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {
        "run/new": "-- new: does something.\n-- INCLUDE status\n-- KEYS run\n-- ARGV run_id\n",
        **PATHS,
    }
    monkeypatch.setattr("evented_agent.ledger.script._read", files.__getitem__)

    with pytest.raises(ValueError, match="What includes status must start with the same KEYS"):
        script("run/new")


def test_a_servers_hash_of_a_script_is_ours(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        for path in SCRIPTS:
            assert client.script_load(script(path).source) == script(path).sha
