"""One OpenAI client per event loop, server and key."""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import openai


class _Slot(NamedTuple):
    pid: int
    loop: asyncio.AbstractEventLoop
    base_url: str
    key: str


class _Held(NamedTuple):
    client: openai.AsyncOpenAI
    keeper: AsyncGenerator[None, None]


# Entries of a forked parent stay here unused: collecting or closing them in the child would write
# to sockets that the parent still reads.
_clients: dict[_Slot, _Held] = {}


async def client_for(base_url: str, key: str) -> openai.AsyncOpenAI:
    """Return the running loop's client for that server and key, connected on first use.

    It closes with the loop, if that ends as `asyncio.run` ends it: with `shutdown_asyncgens`.
    """
    slot = _Slot(os.getpid(), asyncio.get_running_loop(), base_url, key)
    held = _clients.get(slot)
    if held is None:
        _forget_closed_loops()
        client = _new_client(base_url, key)
        held = _clients[slot] = _Held(client, _keep(slot, client))
        await anext(held.keeper)
    return held.client


def without_credentials(base_url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without the user and password in it, and those two."""
    parts = urlsplit(base_url)
    before, at, host = parts.netloc.rpartition("@")
    if not at:
        return base_url, None
    user, _, password = before.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote(user), unquote(password))


def _new_client(base_url: str, key: str) -> openai.AsyncOpenAI:
    # Apart from the URL, which the HTTP client writes to its log.
    url, credentials = without_credentials(base_url)
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=url,
        # Who runs the model owns the retries; the SDK's would multiply with them.
        max_retries=0,
        # The SDK's own wrapper closes itself on whichever loop happens to collect it.
        http_client=openai.DefaultAsyncHttpxClient(auth=credentials),
    )


async def _keep(slot: _Slot, client: openai.AsyncOpenAI) -> AsyncGenerator[None, None]:
    # A loop that shuts down closes its suspended async generators: the only hook asyncio offers.
    try:
        yield
    finally:
        _clients.pop(slot, None)
        await client.close()


def _forget_closed_loops() -> None:
    pid = os.getpid()
    for slot in list(_clients):
        if slot.pid == pid and slot.loop.is_closed():
            _clients.pop(slot, None)
