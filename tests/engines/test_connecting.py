"""What Celery connects with, runs connect with; else the line to change is named."""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from packaging.version import Version
from redis.credentials import CredentialProvider

from evented_agent import Agent, ConfigurationError, LedgerUnavailable, Runs, Settings, tool
from evented_agent.engines.celery.redis_url import from_broker, redis_url_of
from evented_agent.engines.in_process import create_durable_agent
from evented_agent.ledger import threads
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.tls import TlsProxy

KEYS = Keys("connecting")
#: All that needs to be written otherwise in a URL, and in more than one way.
PASSWORD = "p:/?#[]@ %2F+&=ä"
QUOTED = "p%3A%2F%3F%23%5B%5D%40%20%252F%2B%26%3D%C3%A4"
#: What a user needs at least, as docs/redis.md says.
RULES = "-@all +@read +@write +@scripting +@connection +time -@dangerous"


class Provider(CredentialProvider):
    """Tells who connects, as those of clouds do."""

    def get_credentials(self) -> tuple[str, str]:
        return ("someone", PASSWORD)


@dataclass(frozen=True)
class Places:
    """One server, and how to reach it."""

    plain: int
    encrypted: int
    mutual: int
    socket: Path
    ca: Path
    mutual_ca: Path
    client: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("c")
    path = folder / "s"
    with ExitStack() as stack:
        server = stack.enter_context(
            RedisServer(folder / "redis", extra=("--unixsocket", str(path)))
        )
        admin = server.client()
        admin.execute_command(  # type: ignore[no-untyped-call]
            *("ACL", "SETUSER", "someone", "on", "resetpass", f">{PASSWORD}", "~*", "&*", "+@all"),
        )
        admin.execute_command(  # type: ignore[no-untyped-call]
            *("ACL", "SETUSER", "bound", "on", f">{PASSWORD}", "~few*", *RULES.split()),
        )
        admin.config_set("requirepass", PASSWORD)
        admin.close()
        proxy = stack.enter_context(TlsProxy(server.port, folder / "tls"))
        mutual = stack.enter_context(TlsProxy(server.port, folder / "mutual", mutual=True))
        yield Places(server.port, proxy.port, mutual.port, path, proxy.ca, mutual.ca, mutual.client)


#: Broker URLs, with other settings of the app.
FORMS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "a password": ("redis://:{q}@127.0.0.1:{plain}", {}),
    "a user": ("redis://someone:{q}@127.0.0.1:{plain}/0", {}),
    "a database": ("redis://:{q}@127.0.0.1:{plain}/3", {}),
    "a virtual host": ("redis://:{q}@127.0.0.1:{plain}?virtual_host=3", {}),
    "a socket": ("redis+socket://:{q}@{socket}", {}),
    "a socket and a database": ("redis+socket://someone:{q}@{socket}?virtual_host=3", {}),
    "TLS in the URL": (
        "rediss://:{q}@127.0.0.1:{encrypted}/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}",
        {},
    ),
    "TLS in small letters": (
        "rediss://:{q}@127.0.0.1:{encrypted}/0?ssl_cert_reqs=required&ssl_ca_certs={ca}",
        {},
    ),
    "TLS without a check": ("rediss://:{q}@127.0.0.1:{encrypted}/0?ssl_cert_reqs=CERT_NONE", {}),
    "TLS in the settings": (
        "redis://:{q}@127.0.0.1:{encrypted}/0",
        {"broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "{ca}"}},
    ),
    "TLS in both": (
        "rediss://:{q}@127.0.0.1:{encrypted}/0",
        {"broker_use_ssl": {"ssl_cert_reqs": "required", "ssl_ca_certs": "{ca}"}},
    ),
    "TLS with a host of another name": (
        "rediss://:{q}@localhost:{encrypted}/0"
        "?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}&ssl_check_hostname=false",
        {},
    ),
    "a client's certificate": (
        "rediss://:{q}@127.0.0.1:{mutual}/0?ssl_ca_certs={mutual_ca}&ssl_cert_reqs=CERT_REQUIRED"
        "&ssl_certfile={client}&ssl_keyfile={client}",
        {},
    ),
    "a provider of credentials": (
        "redis://127.0.0.1:{plain}/0?credential_provider=" + f"{__name__}.Provider",
        {},
    ),
    "a prefix for the broker": (
        "redis://:{q}@127.0.0.1:{plain}/0",
        {"broker_transport_options": {"global_keyprefix": "mine:"}},
    ),
    "time limits": (
        "redis://:{q}@127.0.0.1:{plain}/0",
        {
            "broker_transport_options": {
                "socket_timeout": 30,
                "socket_connect_timeout": 5.5,
                "health_check_interval": 10,
                "client_name": "me",
                "visibility_timeout": 60,
                "max_connections": 2,
                "retry_on_timeout": True,
                "socket_keepalive": True,
            }
        },
    ),
    "what only Celery knows": (
        "redis://:{q}@127.0.0.1:{plain}/0?visibility_timeout=60&fanout_prefix=1",
        {},
    ),
    "a list of one": ("redis://:{q}@127.0.0.1:{plain}/0;", {}),
}


def app_of(form: str, places: Places) -> Celery:
    names = {"q": QUOTED, **{name: str(getattr(places, name)) for name in vars(places)}}
    url, settings = FORMS[form]
    app = Celery("connecting", broker=url.format(**names), set_as_current=False)
    for name, value in settings.items():
        filled = {k: v.format(**names) if isinstance(v, str) else v for k, v in value.items()}
        app.conf[name] = filled
    return app


@pytest.mark.parametrize("form", FORMS)
def test_runs_connect_as_celery_does(form: str, places: Places) -> None:
    if form == "a provider of credentials" and Version(metadata.version("kombu")) < Version("5.6"):
        # Celery itself cannot connect so, and what Celery cannot is not asked of runs.
        pytest.skip("unknown to this version of kombu")
    app = app_of(form, places)
    # With options that kombu does not know for TCP Celery connects to nothing.
    if form not in ("what only Celery knows", "a virtual host"):
        with app.connection_for_write() as connection:
            connection.connect()
    url = redis_url_of(app) or ""
    one = threads.enter(KEYS, "t", form.replace(" ", "-"), ttl_ms=60_000)

    async def on_a_loop() -> str:
        ours = Ledger(url)
        try:
            return (await ours.asend(one)).holder
        finally:
            await ours.aclose()

    ledger = Ledger(url)
    assert ledger.send(one).holder
    assert asyncio.run(on_a_loop())
    database = ledger.client().connection_pool.connection_kwargs["db"]
    assert database == (3 if "3" in FORMS[form][0] else 0)
    ledger.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("rediss://:{q}@127.0.0.1:{encrypted}/0", r"ssl_ca_certs=.*broker_use_ssl"),
        ("rediss://:{q}@localhost:{encrypted}/0?ssl_ca_certs={ca}", r"ssl_ca_certs="),
        ("rediss://:{q}@127.0.0.1:{plain}/0", r"begin with redis://|could not be reached"),
        ("redis://127.0.0.1:{plain}/0", r"NOAUTH.*Put the password into the URL"),
        ("redis://:wrong@127.0.0.1:{plain}/0", r"WRONGPASS.*Correct the user and the password"),
        ("redis://bound:{q}@127.0.0.1:{plain}/0", r"NOPERM.*Settings\(prefix="),
    ],
)
def test_what_does_not_connect_names_what_to_change(url: str, says: str, places: Places) -> None:
    if "localhost" in url and int(redis.__version__.split(".")[0]) < 6:
        # The refusal is redis-py's own, and came with its version 6.
        pytest.skip("this version of redis-py, and so Celery, looks at no host's name")
    names = {"q": QUOTED, **{name: str(getattr(places, name)) for name in vars(places)}}
    ledger = Ledger(url.format(**names))
    with pytest.raises(LedgerUnavailable, match=says) as refused:
        ledger.send(threads.enter(KEYS, "t", "r", ttl_ms=1000), retry_for=0.2)
    assert PASSWORD not in str(refused.value)
    ledger.close()


@pytest.mark.parametrize(
    ("broker", "says"),
    [
        ("redis://:secret@a;redis://:secret@b", "lists several brokers"),
        (["redis://:secret@a", "redis://:secret@b"], "lists several brokers"),
        ("redis://:[secret@a", "broker_url"),
        ("redis://:secret@a/name", "broker_url.*no number"),
        ("redis://:se/secret@a/0", "broker_url.*%2F"),
        ("sentinel://:secret@a:1;sentinel://b:2", "master_name"),
        ("redis://a/0?credential_provider=no.such.Thing&password=secret", "could not be made"),
        ("amqp://u:secret@a", "runs need Redis"),
        ("memory://", "runs need Redis"),
    ],
)
def test_a_broker_that_cannot_hold_runs_names_the_setting(
    broker: str | list[str], says: str
) -> None:
    app = Celery("refused", set_as_current=False)
    app.conf.update(broker_url=broker)
    with pytest.raises(ConfigurationError, match=says) as refused:
        redis_url_of(app)
    assert "secret" not in str(refused.value)
    assert "app.conf.evented_agent_redis_url = " in str(refused.value)


def test_celerys_sentinels_become_ours() -> None:
    url = from_broker(
        "sentinel://:p%40@a:1/2;sentinel://b:2",
        options={
            "master_name": "main",
            "sentinel_kwargs": {"password": "s&?", "socket_timeout": 0.5, "decode_responses": True},
            "min_other_sentinels": 1,
        },
        tls={"ssl_cert_reqs": ssl.CERT_NONE},
    )
    ours = Ledger(url)._address

    assert [str(node) for node in ours.nodes] == ["a:1", "b:2"]
    assert dict(ours.options) == {"password": "p@", "db": 2, "ssl": True, "ssl_cert_reqs": "none"}
    assert dict(ours.sentinel_options) == {"password": "s&?", "socket_timeout": 0.5}
    assert (ours.master, ours.least_sentinels) == ("main", 1)


def test_sentinels_of_our_own_setting_take_the_master_of_the_broker() -> None:
    app = Celery("sentinels", broker="redis://h/0", set_as_current=False)
    app.conf.broker_transport_options = {"master_name": "main"}
    app.conf.evented_agent_redis_url = "sentinel://a:1;sentinel://b:2"

    assert Ledger(redis_url_of(app) or "")._address.master == "main"


def test_a_user_that_may_not_ask_the_server_about_itself_runs_agents(places: Places) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    model = ScriptedModel([[tool_call("add", a=1, b=2)], "It is 3."])
    agent = Agent(id="bound", model=model, tools=[add])
    url = f"redis://bound:{QUOTED}@127.0.0.1:{places.plain}/0"
    bound = create_durable_agent(agent, redis_url=url, settings=Settings(prefix="few"))
    try:
        run = bound.stream("Add.", thread_id="t", resource_id="someone")
        assert run.result(timeout=20).text == "It is 3."
        again = bound.stream("Again.", thread_id="t", resource_id="someone")
        assert again.result(timeout=20).status == "finished"
        assert Runs(url, settings=Settings(prefix="few.bound")).check().has_aof is None
        bound.delete(run.run_id)
    finally:
        bound.close()
    client = redis.Redis(port=places.plain, password=PASSWORD)
    assert all(key.startswith(b"few") or b"t:" in key for key in client.scan_iter("few*"))
    client.close()
