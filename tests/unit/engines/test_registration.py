"""Agents on Celery apps: once each, apart from each other, with settings that agree."""

from datetime import timedelta

import pytest
from celery import Celery

from evented_agent import Agent, ConfigurationError, Runs, Settings, create_evented_agent
from evented_agent.engines.celery.redis_url import from_broker, redis_url_of
from evented_agent.testing import ScriptedModel

TASKS = {"evented_agent.model", "evented_agent.tool", "evented_agent.end"}


def agent(name: str) -> Agent:
    return Agent(id=name, model=ScriptedModel(["Hi."]))


def app(broker: str = "redis://127.0.0.1:1/0") -> Celery:
    return Celery("registration", broker=broker, set_as_current=False)


def test_tasks_are_on_that_app_and_on_no_other() -> None:
    here, elsewhere = app(), app()
    create_evented_agent(agent("a"), app=here)

    assert set(here.tasks) >= TASKS
    assert not TASKS & set(elsewhere.tasks)


def test_a_second_agent_joins_the_runs_of_the_first() -> None:
    here = app()
    first = create_evented_agent(agent("a"), app=here, settings=Settings(prefix="p"))
    second = create_evented_agent(agent("b"), app=here)

    assert first.client is second.client is Runs.of(here)
    assert sorted(Runs.of(here).agents) == ["a", "b"]


def test_two_apps_in_one_process_stay_apart() -> None:
    one, two = app(), app()
    same = agent("a")
    create_evented_agent(same, app=one, settings=Settings(prefix="one"))
    create_evented_agent(same, app=two, settings=Settings(prefix="two"))

    assert Runs.of(one) is not Runs.of(two)
    assert (Runs.of(one).settings.prefix, Runs.of(two).settings.prefix) == ("one", "two")


def test_registering_twice_changes_nothing() -> None:
    here = app()
    evented = create_evented_agent(agent("a"), app=here)

    assert evented.register(here) is evented
    assert list(Runs.of(here).agents) == ["a"]


def test_an_id_taken_by_another_agent_is_refused() -> None:
    here = app()
    create_evented_agent(agent("a"), app=here)

    with pytest.raises(ConfigurationError, match="Two agents have the id 'a'"):
        create_evented_agent(agent("a"), app=here)


def test_other_settings_for_the_same_app_are_refused() -> None:
    here = app()
    create_evented_agent(agent("a"), app=here)

    with pytest.raises(ConfigurationError, match="all agents of an app share them"):
        create_evented_agent(agent("b"), app=here, settings=Settings(prefix="other"))


def test_an_agent_of_a_factory_says_what_is_missing() -> None:
    evented = create_evented_agent(agent("a"))

    with pytest.raises(ConfigurationError, match=r"Call \.register\(app\) first"):
        evented.stream("Hi.")
    with pytest.raises(ConfigurationError, match="has no agents"):
        Runs.of(app())


def test_registering_connects_to_nothing() -> None:
    create_evented_agent(agent("a"), app=app("redis://192.0.2.1:6379/0"))


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("redis://:secret@host:6380/2", "redis://:secret@host:6380/2"),
        ("rediss://host/0", "rediss://host/0"),
        ("redis+socket:///run/redis.sock?virtual_host=3", "unix:///run/redis.sock?db=3"),
        ("redis+socket:///run/redis.sock", "unix:///run/redis.sock?db=0"),
    ],
)
def test_celerys_urls_are_translated(broker: str, url: str) -> None:
    assert from_broker(broker) == url


@pytest.mark.parametrize(
    "broker", ["amqp://guest@host//", "sentinel://host:26379", "redis://a/0;redis://b/0", "sqs://"]
)
def test_a_broker_that_cannot_hold_runs_is_refused_with_the_line_to_set(broker: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"Set app\.conf\.evented_agent_redis_url = "
    ) as raised:
        from_broker(broker)
    assert "guest" not in str(raised.value)


def test_the_apps_own_setting_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    here = app("amqp://host//")
    monkeypatch.setenv("EVENTED_AGENT_REDIS_URL", "redis://from-environment/0")

    assert redis_url_of(here) == "redis://from-environment/0"
    here.conf.evented_agent_redis_url = "redis://from-setting/0"
    assert redis_url_of(here) == "redis://from-setting/0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"shards": 0},
        {"prefix": "a{b"},
        {"queue": ""},
        {"lease": 0.5},
        {"lease": timedelta(milliseconds=500)},
        {"topic_ttl": float("nan")},
        {"record_ttl": -1},
        {"thread_ttl": "90 days"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_settings_take_seconds_or_timedeltas_and_are_equal_either_way() -> None:
    assert Settings(lease=5, topic_ttl=3600.0) == Settings(
        lease=timedelta(seconds=5), topic_ttl=timedelta(hours=1)
    )
    assert Settings(lease=1.5).lease_ms == 1500


def test_annotations_for_all_tasks_do_not_reach_ours() -> None:
    here = app()
    here.conf.task_annotations = {"*": {"rate_limit": "1/h", "acks_late": True, "max_retries": 9}}
    here.conf.task_acks_late = True
    here.conf.task_time_limit = 1
    create_evented_agent(agent("a"), app=here)
    task = here.tasks["evented_agent.model"]

    assert (task.rate_limit, task.acks_late, task.max_retries) == ("0/s", False, 0)
    assert task.time_limit is not None
    assert task.time_limit > 10_000_000
