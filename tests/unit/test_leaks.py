"""The check for keys that would stay for ever sees them, and no others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leaks import LeakCheck
from tests.support.servers import RedisServer


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(Path(tmp_path_factory.mktemp("leaks")), aof=False) as server:
        yield server


@pytest.fixture
def check(own: RedisServer) -> Iterator[LeakCheck]:
    own.client().flushall()
    made = LeakCheck(own.url)
    yield made
    made.close()


def test_a_key_of_an_ended_run_without_an_end_is_told(own: RedisServer, check: LeakCheck) -> None:
    own.client().hset("ea:{0}:r:run", mapping={"status": "failed", "live": "[]"})
    own.client().rpush("ea:{0}:r:journal", "x")
    own.client().pexpire("ea:{0}:r:run", 60_000)

    assert check.leaks() == ["db0 ea:{0}:r:journal (failed)"]


def test_what_the_broker_has_declared_is_not_forgotten(own: RedisServer, check: LeakCheck) -> None:
    with own.client() as client:
        client.flushall()
        client.sadd("_kombu.binding.agents", "agents")
        client.rpush("agents", "a message")
        client.hset("ea:{0}:r:run", "status", "running")
        check.forget()
        assert client.keys() == [b"_kombu.binding.agents"]


@pytest.mark.parametrize(
    "record",
    [{"status": "running", "live": '["1:model"]'}, {"status": "finished", "live": '["after"]'}],
)
def test_a_run_that_goes_on_may_keep_its_keys(
    record: dict[str, str], own: RedisServer, check: LeakCheck
) -> None:
    own.client().hset("ea:{0}:r:run", mapping=record)  # type: ignore[arg-type]

    assert check.leaks() == []


@pytest.mark.parametrize("key", ["ea:{0}:runs:thread:t", "ea:{1}:thread:ab:turns", "ea:workers"])
def test_what_belongs_to_no_run_must_expire(key: str, own: RedisServer, check: LeakCheck) -> None:
    own.client().set(key, "x")

    assert check.leaks() == [f"db0 {key}"]


@pytest.mark.parametrize(
    "key",
    ["ea:deployment", "ea:{0}:pulse", "ea:{0}:runs:agent:a", "ea:{0}:alarms", "test-broker:agents"],
)
def test_what_a_deployment_has_once_may_stay(key: str, own: RedisServer, check: LeakCheck) -> None:
    own.client().set(key, "x")

    assert check.leaks() == []
