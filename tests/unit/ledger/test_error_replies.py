"""What each error reply of Redis leads to: another try, or a sentence at once."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis

from evented_agent import LedgerUnavailable
from evented_agent.ledger import runs, threads, workers
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.embedded_server import find_binary
from evented_agent.ledger.error_replies import ELSEWHERE, NEVER, NOT_NOW, refusal_of
from evented_agent.ledger.keys import Keys
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

KEYS = Keys("replies")
ENTER = threads.enter(KEYS, "t", "r", ttl_ms=1000)
HAS_TURN = threads.TurnHolder("r", 1, "")

#: How a word looks in the reply.
FORMS = {
    "plain": "{word} {what}",
    "in a script": "{word} {what} script: on @user_script:1.",
    "in a script of Redis 6": "ERR Error running script (call to f_0a): @user_script:1: "
    "@user_script: 1: -{word} {what}",
}


def reply(word: str, form: str = "plain") -> str:
    """An error reply with that word; two of them name another server."""
    what = "12 127.0.0.1:1" if word in ("ASK", "MOVED") else "Something is wrong."
    if word == "WRONGPASS":
        # By which redis-py knows it, before it kept the word.
        return f"{word} invalid username-password pair or user is disabled."
    if word in ("ASK", "MOVED") and form == "in a script":
        form = "plain"
    return FORMS[form].format(word=word, what=what)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that these tests spoil."""
    with RedisServer(tmp_path_factory.mktemp("spoilt")) as spoilt:
        yield spoilt


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port) as between:
        yield between


@pytest.fixture
def ledger(proxy: Proxy) -> Iterator[Ledger]:
    ours = Ledger(proxy.url)
    yield ours
    ours.close()


def test_every_word_that_the_server_knows_has_a_meaning() -> None:
    said = set(re.findall(rb"\x00-([A-Z]{3,}) [^\x00]", Path(find_binary()).read_bytes()))
    known = {word.encode() for word in NOT_NOW | NEVER}

    assert said & known >= {b"MISCONF", b"READONLY", b"OOM", b"ERR"}
    assert not said - known
    assert not set(NOT_NOW) & set(NEVER)
    assert set(NOT_NOW) >= ELSEWHERE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", sorted(NOT_NOW))
def test_a_reply_that_passes_is_waited_for(
    word: str, form: str, proxy: Proxy, ledger: Ledger
) -> None:
    if word == "NOSCRIPT" and form == "plain":
        pytest.skip("answered by sending the script")
    proxy.say(reply(word, form), times=3)

    assert ledger.send(ENTER) == HAS_TURN
    assert proxy.left_to_say == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", sorted(NEVER))
def test_a_reply_that_stays_is_said_at_once(
    word: str, form: str, proxy: Proxy, ledger: Ledger
) -> None:
    proxy.say(reply(word, form), times=2)

    with pytest.raises(LedgerUnavailable, match=rf"refused \(.*{word}") as refused:
        ledger.send(ENTER, retry_for=30)
    assert not refused.value.retryable
    assert NEVER[word] in str(refused.value)
    assert proxy.left_to_say == 1


@pytest.mark.parametrize("word", sorted(NOT_NOW))
def test_a_reply_that_does_not_pass_in_time_is_named(
    word: str, proxy: Proxy, ledger: Ledger
) -> None:
    proxy.say(reply(word), times=50)

    with pytest.raises(LedgerUnavailable, match=f"says not now .*{word}") as refused:
        ledger.send(ENTER, retry_for=0)
    assert refused.value.retryable
    assert NOT_NOW[word] in str(refused.value)


@pytest.mark.parametrize("word", sorted(NOT_NOW))
def test_pipelines_and_event_loops_wait_as_well(word: str, proxy: Proxy) -> None:
    async def all_ways() -> None:
        ours = Ledger(proxy.url)
        said = reply(word, "in a script")
        proxy.say(said, times=2)
        assert await ours.asend(ENTER) == HAS_TURN
        proxy.say(said, times=3)
        assert await ours.asend_all([ENTER, ENTER], retry_for=2) == [HAS_TURN, HAS_TURN]
        proxy.say(said, times=3)
        both = await asyncio.to_thread(ours.send_all, [ENTER, ENTER], retry_for=2)
        assert both == [HAS_TURN, HAS_TURN]
        ours.close()
        await ours.aclose()

    asyncio.run(all_ways())


def test_arguments_of_a_refused_call_are_not_repeated(proxy: Proxy, ledger: Ledger) -> None:
    proxy.say("ERR unknown command 'EVALSHA', with args beginning with: 'a' 'secret' ", times=1)

    with pytest.raises(LedgerUnavailable, match=r"refused \(ERR unknown command 'EVALSHA'\)\."):
        ledger.send(ENTER)


def test_too_many_clients_count_as_out_of_reach() -> None:
    error = redis.ConnectionError("max number of clients reached")

    assert refusal_of(error).passes
    assert not refusal_of(error).word


# What real servers say.

Spoil = Callable[["redis.Redis", RedisServer], AbstractContextManager[object]]


@contextmanager
def full(client: "redis.Redis", _server: RedisServer) -> Iterator[None]:
    client.config_set("maxmemory", "1")
    yield
    client.config_set("maxmemory", "0")


@contextmanager
def alone(client: "redis.Redis", _server: RedisServer) -> Iterator[None]:
    client.config_set("min-replicas-to-write", "1")
    yield
    client.config_set("min-replicas-to-write", "0")


@contextmanager
def demoted(client: "redis.Redis", _server: RedisServer) -> Iterator[None]:
    client.replicaof("127.0.0.1", "1")
    yield
    client.replicaof("NO", "ONE")


@contextmanager
def cut_off(client: "redis.Redis", _server: RedisServer) -> Iterator[None]:
    client.config_set("replica-serve-stale-data", "no")
    client.replicaof("127.0.0.1", "1")
    yield
    client.replicaof("NO", "ONE")
    client.config_set("replica-serve-stale-data", "yes")


@contextmanager
def without_disk(client: "redis.Redis", server: RedisServer) -> Iterator[None]:
    # A folder stands where the snapshot goes.
    (server.directory / "dump.rdb" / "x").mkdir(parents=True)
    client.config_set("save", "1000 1")
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "it failed")
    yield
    client.config_set("save", "")
    (server.directory / "dump.rdb" / "x").rmdir()
    (server.directory / "dump.rdb").rmdir()


@contextmanager
def busy(client: "redis.Redis", server: RedisServer) -> Iterator[None]:
    client.config_set("busy-reply-threshold", "1")

    def occupy() -> None:
        with pytest.raises(redis.RedisError), server.client() as own:
            own.eval("while true do end", 0)

    thread = threading.Thread(target=occupy)
    thread.start()

    def is_busy() -> bool:
        try:
            client.ping()
        except redis.ResponseError:
            return True
        return False

    wait_until(is_busy, "it is busy")
    yield
    client.script_kill()
    thread.join()


PASSING: dict[str, Spoil] = {
    "OOM": full,
    "NOREPLICAS": alone,
    "READONLY": demoted,
    "MASTERDOWN": cut_off,
    "MISCONF": without_disk,
    "BUSY": busy,
}


@pytest.mark.parametrize("word", PASSING)
def test_a_real_server_that_refuses_for_a_while_is_waited_for(
    word: str, server: RedisServer
) -> None:
    ours = Ledger(server.url)
    answers: list[int] = []
    live = workers.LiveWorker("w", "node", queues=["q"], agents=["a"], pool="solo", slots=1)
    announce = workers.announce(KEYS, live)
    with server.client() as client:
        assert ours.send(announce) == 1
        with PASSING[word](client, server):
            with pytest.raises(LedgerUnavailable, match=f"says not now .{word}"):
                ours.send(announce, retry_for=0)
            [refused] = ours.send_all([announce])
            assert isinstance(refused, LedgerUnavailable)
            assert refused.retryable
            waits = threading.Thread(
                target=lambda: answers.append(ours.send(announce, retry_for=30)), daemon=True
            )
            waits.start()
            # A refusal has been heard, and is waited out.
            with pytest.raises(LedgerUnavailable):
                ours.send(announce, retry_for=0.2)
            assert waits.is_alive()
        waits.join(timeout=20)
    assert answers == [1]
    ours.close()


def test_a_real_server_says_at_once_what_a_user_may_not_do(server: RedisServer) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">p", "~*", "+@all", "-rpush")
        client.execute_command("ACL", "SETUSER", "other", "on", ">p", "~other*", "+@all")
        client.execute_command("ACL", "SETUSER", "none", "on", ">p", "~*", "+@all", "-@scripting")
        client.set(KEYS.thread("text").turns, "text")
    at = f"@127.0.0.1:{server.port}/0"
    other = threads.enter(KEYS, "new", "r", ttl_ms=1000)
    cases = [
        (f"redis://few:p{at}", other, "NOPERM"),
        (f"redis://other:p{at}", other, "NOPERM"),
        (f"redis://none:p{at}", other, "NOPERM"),
        (f"redis://few:wrong{at}", other, "WRONGPASS"),
        (server.url, threads.enter(KEYS, "text", "r", ttl_ms=1), "WRONGTYPE"),
    ]
    for url, command, word in cases:
        ours = Ledger(url)
        with pytest.raises(LedgerUnavailable) as refused:
            ours.send(command, retry_for=30)
        assert word in str(refused.value)
        assert NEVER[word] in str(refused.value)
        ours.close()


def test_a_real_server_says_at_once_that_it_wants_a_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, server.client() as client:
        client.config_set("requirepass", "secret")
        ours = Ledger(server.url)
        with pytest.raises(LedgerUnavailable, match=r"refused \(NOAUTH .*Put the password"):
            ours.send(runs.read(KEYS, "r"), retry_for=30)
        ours.close()
