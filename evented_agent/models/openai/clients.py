"""One OpenAI client per event loop, server and key."""

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import openai

from evented_agent.errors import ModelError
from evented_agent.models.credentials import credential_values

#: A function that returns the key for a call, plain or ``async``: Entra's token providers are such.
Token = Callable[[], str | Awaitable[str]]
#: A client of the kind that the installed openai takes, or a function that makes one.
HttpClient = Any


class _Slot(NamedTuple):
    pid: int
    loop: asyncio.AbstractEventLoop
    base_url: str
    key: str
    http_client: int


class _Held(NamedTuple):
    client: openai.AsyncOpenAI
    keeper: AsyncGenerator[None, None]


# Entries of a forked parent stay here unused: collecting or closing them in the child would write
# to sockets that the parent still reads.
_clients: dict[_Slot, _Held] = {}


async def client_for(base_url: str, key: str, own: HttpClient = None) -> openai.AsyncOpenAI:
    """Return the running loop's client for that server and key, connected on first use.

    *own* is the HTTP client to use, or a function that makes it.  A client closes with the loop, if
    that ends as `asyncio.run` ends it: with `shutdown_asyncgens`.
    """
    loop = asyncio.get_running_loop()
    slot = _Slot(os.getpid(), loop, base_url, key, 0 if own is None else id(own))
    held = _clients.get(slot)
    if held is None:
        _forget_closed_loops()
        client = _new_client(base_url, key, own)
        is_ours = own is None or _makes_client(own)
        held = _clients[slot] = _Held(client, _keep(slot, client, is_ours=is_ours))
        await anext(held.keeper)
    return held.client


async def key_for(name: str, variable: str, token: Token | None, *, needs_key: bool) -> str:
    """The key of a call: what *token* gives, else what the environment holds under *variable*.

    Raises `ModelError` where there is none, or none that a header can carry.
    """
    if token is None:
        source, key = variable, os.environ.get(variable, "").strip()
    else:
        source, key = "token=", await _given(name, token)
    if not key and not needs_key:
        return "local"
    if not key:
        raise ModelError(
            f"{name} needs an API key: set the environment variable {variable}. "
            "A local server that checks none needs a dummy, such as 'local'."
        )
    if not (key.isascii() and key.isprintable()):
        raise ModelError(
            f"{name}: {source} holds characters that no API key has. Copy the key again."
        )
    return key


async def _given(name: str, token: Token) -> str:
    try:
        given = token()
        made = await given if inspect.isawaitable(given) else given
    except Exception as error:  # noqa: BLE001 - user code, whose text may hold what it was to give
        raise ModelError(
            f"{name}: token= failed with {type(error).__name__}.", retryable=True
        ) from None
    return str(made or "").strip()


def without_credentials(base_url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without the user and password in it, and those two."""
    parts = urlsplit(base_url)
    before, at, host = parts.netloc.rpartition("@")
    if not at:
        return base_url, None
    user, _, password = before.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote(user), unquote(password))


def secrets_in(base_url: str) -> tuple[str, ...]:
    """The password of a URL, or the token that stands alone in its place, and keys in its query."""
    url, credentials = without_credentials(base_url)
    found = tuple(credential_values(dict(parse_qsl(urlsplit(url).query))))
    if credentials is None:
        return found
    user, password = credentials
    return (*found, password, f"{user}:{password}") if password else (*found, user)


def host_of(base_url: str) -> str:
    """Return host and port of an http(s) URL, without credentials; empty for anything else."""
    try:
        parts = urlsplit(base_url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    is_http = parts.scheme in {"http", "https"}
    return f"{parts.hostname}{port}" if is_http and parts.hostname else ""


def _makes_client(own: HttpClient) -> bool:
    return inspect.isroutine(own) or inspect.isclass(own)


def _new_client(base_url: str, key: str, own: HttpClient) -> openai.AsyncOpenAI:
    # Apart from the URL, which the HTTP client writes to its log.
    url, credentials = without_credentials(base_url)
    http_client = own() if _makes_client(own) else own
    # What follows a question mark stands behind the path of the call, as in Azure's URLs.
    parts = urlsplit(url)
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=parts._replace(query="", fragment="").geturl(),
        default_query=dict(parse_qsl(parts.query)),
        # Who runs the model owns the retries; the SDK's would multiply with them.
        max_retries=0,
        # The SDK's own wrapper closes itself on whichever loop happens to collect it.
        http_client=http_client or openai.DefaultAsyncHttpxClient(auth=credentials),
    )


async def _keep(
    slot: _Slot, client: openai.AsyncOpenAI, *, is_ours: bool
) -> AsyncGenerator[None, None]:
    # A loop that shuts down closes its suspended async generators: the only hook asyncio offers.
    try:
        yield
    finally:
        _clients.pop(slot, None)
        if is_ours:
            await client.close()


def _forget_closed_loops() -> None:
    pid = os.getpid()
    for slot in list(_clients):
        if slot.pid == pid and slot.loop.is_closed():
            _clients.pop(slot, None)
