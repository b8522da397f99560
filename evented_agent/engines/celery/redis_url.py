"""Where an app's runs are: its own setting, the environment, its Redis broker, or embedded."""

import os
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from celery import Celery

from evented_agent.client.deployment import REDIS_URL_VARIABLE
from evented_agent.errors import ConfigurationError
from evented_agent.ledger.address import OPTION_NAMES, SENTINEL_PREFIX, keep_provider, parse_address

SETTING = "evented_agent_redis_url"

#: Options of Celery's Redis transport that mean the same for the runs.
_TRANSPORT = ("socket_timeout", "socket_connect_timeout", "health_check_interval", "client_name")
_SOCKETS = ("redis+socket", "unix")
_SET = f"Set app.conf.{SETTING} = 'redis://HOST:PORT/DB'"


def redis_url_of(app: Celery) -> str | None:
    """The Redis URL for the runs of *app*; None for the embedded server.

    Raises `ConfigurationError` with the line to set.
    """
    options = app.conf.broker_transport_options or {}
    given = app.conf.get(SETTING) or os.environ.get(REDIS_URL_VARIABLE)
    if given:
        return _with_master(str(given), options)
    broker = app.conf.broker_write_url or app.conf.broker_url
    if broker:
        return from_broker(broker, options=options, tls=app.conf.broker_use_ssl)
    return None


def from_broker(
    broker: str | list[str] | tuple[str, ...],
    *,
    options: Mapping[str, Any] | None = None,
    tls: Any = None,
) -> str:
    """Translate a Redis broker of Celery's, with its transport options and its TLS.

    Raises `ConfigurationError`, with the line to set, for any other.
    """
    urls = broker.split(";") if isinstance(broker, str) else [str(each) for each in broker]
    urls = [url.strip() for url in urls if url.strip()]
    options = options or {}
    try:
        schemes = {urlsplit(url).scheme for url in urls}
    except ValueError:
        raise _unreadable() from None
    if schemes == {"sentinel"}:
        return _checked(_from_sentinels(urls, options, tls))
    if len(urls) > 1:
        raise ConfigurationError(f"broker_url lists several brokers, and runs live in one. {_SET}.")
    scheme = next(iter(schemes), "")
    if scheme not in ("redis", "rediss", *_SOCKETS):
        raise ConfigurationError(
            f"The broker is {scheme or 'no URL'!r}, and runs need Redis. {_SET}, or the "
            f"environment variable {REDIS_URL_VARIABLE}."
        )
    return _checked(_from_server(urls[0], options, tls))


def _from_server(url: str, options: Mapping[str, Any], tls: Any) -> str:
    parts = urlsplit(url)
    query = _query(parts.query)
    if parts.scheme in _SOCKETS:
        database = (query.pop("virtual_host", None) or query.pop("db", "0")).strip("/") or "0"
        query = {"db": database, **_connecting(options), **query}
        return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"
    encrypted = {**_tls(tls), **{k: v for k, v in query.items() if k.startswith("ssl_")}}
    scheme = "rediss" if encrypted else parts.scheme
    query = {**_connecting(options), **query, **encrypted}
    return f"{scheme}://{parts.netloc}{parts.path}" + (f"?{urlencode(query)}" if query else "")


def _from_sentinels(urls: list[str], options: Mapping[str, Any], tls: Any) -> str:
    first, *others = [urlsplit(url) for url in urls]
    userinfo, at, _ = first.netloc.rpartition("@")
    hosts = ",".join(each.netloc.rpartition("@")[2] for each in (first, *others))
    query = {**_connecting(options), **_tls(tls), **_query(first.query)}
    path = first.path.strip("/")
    url = f"sentinel://{userinfo}{at}{hosts}/{path}"
    return _with_master(f"{url}?{urlencode(query)}" if query else url, options)


def _with_master(url: str, options: Mapping[str, Any]) -> str:
    """Add what Celery keeps beside a URL of Sentinels, unless the URL says so itself."""
    if "sentinel://" not in url.partition("?")[0]:
        return url
    said = dict(parse_qsl(urlsplit(url.split(";")[0]).query))
    asked = {f"{SENTINEL_PREFIX}{k}": v for k, v in (options.get("sentinel_kwargs") or {}).items()}
    own = {"master": options.get("master_name"), **_known(asked, SENTINEL_PREFIX)}
    own["min_other_sentinels"] = options.get("min_other_sentinels")
    more = {name: value for name, value in own.items() if value is not None and name not in said}
    if not more:
        return url
    first, *others = url.split(";")
    joined = f"{first}{'&' if '?' in first else '?'}{urlencode(more)}"
    return ";".join((joined, *others))


def _query(text: str) -> dict[str, str]:
    """What of a broker's options is about the connection; the rest is Celery's business."""
    return {
        k: v for k, v in parse_qsl(text) if k in OPTION_NAMES or k in ("virtual_host", "master")
    }


def _connecting(options: Mapping[str, Any]) -> dict[str, str]:
    return _known({name: options.get(name) for name in (*_TRANSPORT, "credential_provider")})


def _tls(tls: Any) -> dict[str, str]:
    """Read `broker_use_ssl`; what is no dict changes nothing, as in Celery's Redis transport."""
    if not isinstance(tls, Mapping):
        return {}
    return _known({name: value for name, value in tls.items() if name.startswith("ssl_")})


def _known(options: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in options.items():
        bare = name.removeprefix(prefix)
        if value is None or bare not in OPTION_NAMES:
            continue
        if isinstance(value, ssl.VerifyMode):
            found[name] = value.name
        elif bare == "credential_provider" and not isinstance(value, str):
            found[name] = keep_provider(value)
        else:
            found[name] = str(value)
    return found


def _checked(url: str) -> str:
    """Refuse now what could not be read later, and name the setting that it comes from."""
    try:
        parse_address(url)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"broker_url cannot be used for the runs. {error} Correct it, or: {_SET}."
        ) from None
    return url


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        "broker_url cannot be read. Write '[', ']', '/', '?' and '#' of a password as %5B, %5D, "
        f"%2F, %3F and %23, or: {_SET}."
    )
