"""Where an app's runs are: its own setting, the environment, its Redis broker, or embedded."""

import os
from urllib.parse import parse_qs, urlsplit

from celery import Celery

from evented_agent.client.deployment import REDIS_URL_VARIABLE
from evented_agent.errors import ConfigurationError
from evented_agent.ledger.embedded_server import ensure_server

SETTING = "evented_agent_redis_url"


def redis_url_of(app: Celery) -> str:
    """The Redis URL for the runs of *app*; raises `ConfigurationError` with the line to set."""
    given = app.conf.get(SETTING) or os.environ.get(REDIS_URL_VARIABLE)
    if given:
        return str(given)
    broker = app.conf.broker_write_url or app.conf.broker_url
    if broker:
        return from_broker(str(broker))
    return ensure_server().url


def from_broker(broker: str) -> str:
    """Translate a Redis broker URL of Celery's; raises `ConfigurationError` for any other."""
    if ";" in broker:
        raise ConfigurationError(
            "broker_url lists several brokers, and runs live in one Redis. Set "
            f"app.conf.{SETTING} = 'redis://HOST:PORT/DB'."
        )
    parts = urlsplit(broker)
    if parts.scheme in ("redis", "rediss", "unix"):
        return broker
    if parts.scheme == "redis+socket":
        database = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/") or "0"
        return f"unix://{parts.path}?db={database}"
    raise ConfigurationError(
        f"The broker is {parts.scheme or 'no URL'!r}, and runs need Redis. Set "
        f"app.conf.{SETTING} = 'redis://HOST:PORT/DB', or the environment variable "
        f"{REDIS_URL_VARIABLE}."
    )
