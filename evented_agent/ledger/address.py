"""Where the runs are, read from a URL: one server, the master that Sentinels name, or a cluster.

What redis-py would ignore or misunderstand is refused here, in words that never hold the URL's
secrets.  The forms and the options are described in docs/redis.md.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from evented_agent.errors import ConfigurationError

Kind = Literal["server", "sentinel", "cluster"]

#: What a URL may begin with: the kind of deployment, and whether connections are encrypted.
SCHEMES: Mapping[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("server", False),
    "redis+socket": ("server", False),
    "sentinel": ("sentinel", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
FORMS = (
    "redis://HOST:PORT/DB, rediss://…, unix://PATH, redis+cluster://HOST:PORT,HOST:PORT or "
    "sentinel://HOST:PORT,HOST:PORT/DB?master=NAME"
)
_SOCKETS = ("unix", "redis+socket")
_SECRET = re.compile("pass|user|data")
_PORTS = {"sentinel": 26379}
#: What Sentinels are asked with, beside what they have in common with the servers.
SENTINEL_PREFIX = "sentinel_"


class Node(NamedTuple):
    """One server."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


#: A URL with several hosts: what stands before them, they, and what stands behind.
_SEVERAL = re.compile(r"([A-Za-z+]+://)([^/?#,]*,[^/?#]*)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Which servers to ask, and how to connect.

    Attributes:
        kind: One server, Sentinels that name the master, or a cluster.
        nodes: Where to begin; none where the server listens on a socket of this machine.
        options: What redis-py's connections take: db, password, path, ssl_ca_certs …
        master: How the Sentinels call the master.
        sentinel_options: *options* for connections to Sentinels.
        least_sentinels: How many others a Sentinel must know, to be believed.
    """

    kind: Kind
    nodes: tuple[Node, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    master: str = ""
    sentinel_options: Mapping[str, Any] = field(default_factory=dict)
    least_sentinels: int = 0


def parse_address(url: str) -> RedisAddress:
    """Read *url*.  Raises `ConfigurationError` with the part that is wrong, never its secrets."""
    scheme, userinfo, hosts, path, query = _parts(url)
    kind, is_encrypted = SCHEMES[scheme]
    options: dict[str, Any] = {}
    user, _, password = userinfo.partition(":")
    options |= {name: unquote(text) for name, text in _given(username=user, password=password)}
    sentinel_options: dict[str, Any] = {}
    own: dict[str, str] = {}
    for name, text in parse_qsl(query):
        if name in ("master", "min_other_sentinels", "virtual_host"):
            own[name] = text
        elif name.startswith(SENTINEL_PREFIX):
            bare = name.removeprefix(SENTINEL_PREFIX)
            sentinel_options[bare] = _option(bare, text)
        else:
            options[name] = _option(name, text)
    if is_encrypted or any(name.startswith("ssl_") for name in options):
        options["ssl"] = True
    if any(name.startswith("ssl_") for name in sentinel_options):
        sentinel_options["ssl"] = True
    if scheme in _SOCKETS:
        options["path"] = unquote(path)
    database = "" if scheme in _SOCKETS else path
    nodes = () if scheme in _SOCKETS else _nodes(hosts, _PORTS.get(kind, 6379))
    _set_database(options, own.get("virtual_host", database))
    address = RedisAddress(
        kind=kind,
        nodes=nodes,
        options=_with_credentials(options),
        master=own.get("master", ""),
        sentinel_options=_with_credentials(sentinel_options),
        least_sentinels=_whole("min_other_sentinels", own.get("min_other_sentinels", "0")),
    )
    _check(address, path, scheme)
    return address


def safe_url(url: str) -> str:
    """*url* without its secrets, for messages; never raises."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "(no URL)"
    parts = [_shown(part.rpartition("://")[2]) for part in rest.split(";")]
    return f"{scheme}://{','.join(parts)}"


def repeatable_url(url: str) -> str:
    """`safe_url` with the options that are no secrets, to be used again."""
    query = url.partition(";")[0].partition("?")[2]
    kept = {name: text for name, text in parse_qsl(query) if not _SECRET.search(name)}
    return f"{safe_url(url)}?{urlencode(kept, safe='/:')}" if kept else safe_url(url)


def _shown(part: str) -> str:
    """Hosts and path; nothing where a password, not written as it has to be, may be among them."""
    where = part.partition("?")[0]
    if "@" in part and "@" not in where:
        return "(hidden)"
    where = where.rpartition("@")[2].partition("#")[0]
    hosts = where.partition("/")[0].split(",")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    return where if all(not port or port.isdecimal() for port in ports) else "(hidden)"


def _parts(url: str) -> tuple[str, str, str, str, str]:
    """Scheme, user info, hosts, path and query; of several URLs the hosts of all."""
    first, *others = str(url).split(";")
    try:
        parts = _split(first)
        also = [_split(other) for other in others if other.strip()]
    except ValueError:
        _refuse("it cannot be read. Write '[', ']', '/', '?' and '#' of a password as %5B, %2F …")
    if parts.scheme not in SCHEMES:
        _refuse(f"it begins with {parts.scheme or 'no scheme'!r}.")
    if also and (
        SCHEMES[parts.scheme][0] == "server" or {a.scheme for a in also} != {parts.scheme}
    ):
        _refuse(
            "it lists several servers, and runs live in one Redis, one Sentinel group or one "
            "cluster."
        )
    if parts.fragment:
        _refuse("it has a '#'. Write '#' of a password as %23.")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    more = [each.netloc.rpartition("@")[2] for each in also]
    path = parts.path or next((each.path for each in also if each.path.strip("/")), "")
    query = "&".join(filter(None, (parts.query, *(each.query for each in also))))
    return parts.scheme, userinfo, ",".join((hosts, *more)), path, query


def _split(url: str) -> SplitResult:
    """`urlsplit`, which in some Pythons refuses several hosts of which one is in brackets."""
    found = _SEVERAL.fullmatch(url)
    if found is None:
        return urlsplit(url)
    scheme, netloc, rest = found.groups()
    return urlsplit(f"{scheme}several{rest}")._replace(netloc=netloc)


def _nodes(hosts: str, port: int) -> tuple[Node, ...]:
    return tuple(_node(text, port) for text in hosts.split(",") if text) or (
        Node("localhost", port),
    )


def _node(text: str, port: int) -> Node:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        given = rest.removeprefix(":")
    else:
        host, _, given = text.partition(":")
    if not given:
        return Node(unquote(host), port)
    if not given.isdecimal() or not 0 < int(given) < 65536:
        # It may be a password's end, where '/' was not written as %2F.
        _refuse("a port in it is no number. Write '/' and '@' of a password as %2F and %40.")
    return Node(unquote(host) or "localhost", int(given))


def _set_database(options: dict[str, Any], text: str) -> None:
    database = unquote(text).strip("/")
    if "db" in options or not database:
        return
    if "@" in database:
        _refuse("its password has a '/', '?' or '#'. Write them as %2F, %3F and %23.")
    if not database.isdecimal():
        _refuse(f"its database {database!r} is no number.")
    options["db"] = int(database)


def _check(address: RedisAddress, path: str, scheme: str) -> None:
    if scheme in _SOCKETS and not path.strip("/"):
        _refuse("it names no socket. Write unix:///path/to/the.sock.")
    if address.kind == "server" and len(address.nodes) > 1:
        _refuse("it lists several servers. For a cluster it begins with redis+cluster://.")
    if address.kind == "cluster" and address.options.get("db"):
        _refuse("a cluster has database 0 only. Leave the number out.")
    if address.kind == "sentinel" and not address.master:
        _refuse(
            "it does not say which master. Add ?master=NAME, as the Sentinels call it (or set "
            "broker_transport_options = {'master_name': …} where it is Celery's)."
        )


def _option(name: str, text: str) -> Any:
    read = _OPTIONS.get(name)
    if read is None:
        _refuse(f"its option {name!r} is not known. Known are: {', '.join(sorted(_OPTIONS))}.")
    return read(name, text)


def _with_credentials(options: dict[str, Any]) -> dict[str, Any]:
    """As Celery does: who gives a provider of credentials gives no others."""
    found = {name: value for name, value in options.items() if value is not None}
    if "credential_provider" in found:
        found.pop("username", None)
        found.pop("password", None)
    return found


def _text(_name: str, text: str) -> str:
    return text


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        _refuse(f"its option {name}={text!r} is no whole number.")
    return int(text)


def _seconds(name: str, text: str) -> float | None:
    if text.lower() in ("", "none"):
        return None
    try:
        return float(text)
    except ValueError:
        _refuse(f"its option {name}={text!r} is no number of seconds.")


def _flag(name: str, text: str) -> bool:
    if text.lower() in ("1", "true", "t", "yes", "y", "on"):
        return True
    if text.lower() not in ("0", "false", "f", "no", "n", "off", ""):
        _refuse(f"its option {name}={text!r} is neither true nor false.")
    return False


def _requirement(name: str, text: str) -> str:
    """Celery says CERT_REQUIRED, or Python's number of it, where redis-py says required."""
    bare = text.lower().rpartition(".")[2].removeprefix("cert_")
    bare = {"0": "none", "1": "optional", "2": "required"}.get(bare, bare)
    if bare not in ("none", "optional", "required"):
        _refuse(f"its option {name}={text!r} is none of CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE.")
    return bare


#: Providers that are objects of this process, by the names that its URLs have for them.
_kept: dict[str, Any] = {}


def keep_provider(provider: Any) -> str:
    """A name for *provider*, valid in this process, for the option ``credential_provider``."""
    name = f"kept:{id(provider)}"
    _kept[name] = provider
    return name


def _provider(name: str, text: str) -> Any:
    """An object that tells user and password at each connection, as Celery finds it."""
    if text in _kept:
        return _kept[text]
    module, _, attribute = text.replace(":", ".").rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
        return (
            found() if isinstance(found, type) or not hasattr(found, "get_credentials") else found
        )
    except Exception as error:  # noqa: BLE001 - whatever the user's module raises
        _refuse(f"its option {name}={text!r} could not be made: {type(error).__name__}: {error}.")


def _nothing(_name: str, _text: str) -> None:
    """What means nothing here: of Celery, or decided by the ledger itself."""


_OPTIONS: Mapping[str, Callable[[str, str], Any]] = {
    "db": _whole,
    "username": _text,
    "password": _text,
    "credential_provider": _provider,
    "client_name": _text,
    "max_connections": _whole,
    "health_check_interval": _whole,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "ssl": _flag,
    "ssl_keyfile": _text,
    "ssl_certfile": _text,
    "ssl_password": _text,
    "ssl_cert_reqs": _requirement,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_check_hostname": _flag,
    "decode_responses": _nothing,
    "protocol": _nothing,
    "retry_on_timeout": _nothing,
    "timeout": _nothing,
}
#: Options that a URL may have, by name.
OPTION_NAMES = frozenset(_OPTIONS)


def _given(**texts: str) -> list[tuple[str, str]]:
    return [(name, text) for name, text in texts.items() if text]


def _refuse(what: str) -> NoReturn:
    raise ConfigurationError(
        f"The Redis URL cannot be used: {what} It has one of the forms {FORMS}."
    )
