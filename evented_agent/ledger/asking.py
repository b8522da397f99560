"""One request to one server: a script, several at once, or the large payloads of a run.

*asking* is for a cluster's node that does not have the slot yet, but was named by the one that is
giving it away.
"""

from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from evented_agent.ledger.error_replies import CONNECTION_FAILURES
from evented_agent.ledger.script import Command

_Request = tuple[str | bytes | int, ...]


def evaluate(client: "redis.Redis", command: Command[Any], *, asking: bool = False) -> Any:
    """The reply of a script."""
    try:
        return _ask(client, _evalsha(command), asking=asking)
    except NoScriptError:
        return _ask(client, _eval(command), asking=asking)


async def aevaluate(
    client: "redis.asyncio.Redis", command: Command[Any], *, asking: bool = False
) -> Any:
    """`evaluate` for the running event loop."""
    try:
        return await _aask(client, _evalsha(command), asking=asking)
    except NoScriptError:
        return await _aask(client, _eval(command), asking=asking)


def fetch(client: "redis.Redis", key: str, names: Sequence[str], *, asking: bool = False) -> Any:
    """The fields *names* of a hash."""
    return _ask(client, ("HMGET", key, *names), asking=asking)


async def afetch(
    client: "redis.asyncio.Redis", key: str, names: Sequence[str], *, asking: bool = False
) -> Any:
    """`fetch` for the running event loop."""
    return await _aask(client, ("HMGET", key, *names), asking=asking)


def evaluate_all(client: "redis.Redis", commands: Sequence[Command[Any]]) -> list[Any]:
    """The replies of scripts that are sent in one round trip; a reply may be an error."""
    requests = [_evalsha(each) for each in commands]
    replies = _together(client, requests)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        for script in {each.script for each in commands}:
            client.script_load(script.source)
        replies = _together(client, requests)
    return replies


async def aevaluate_all(
    client: "redis.asyncio.Redis", commands: Sequence[Command[Any]]
) -> list[Any]:
    """`evaluate_all` for the running event loop."""
    requests = [_evalsha(each) for each in commands]
    replies = await _atogether(client, requests)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        for script in {each.script for each in commands}:
            await client.script_load(script.source)
        replies = await _atogether(client, requests)
    return replies


def _evalsha(command: Command[Any]) -> _Request:
    return ("EVALSHA", command.script.sha, len(command.keys), *command.keys, *command.args)


def _eval(command: Command[Any]) -> _Request:
    return ("EVAL", command.script.source, len(command.keys), *command.keys, *command.args)


def _ask(client: "redis.Redis", request: _Request, *, asking: bool) -> Any:
    if not asking:
        return client.execute_command(*request)  # type: ignore[no-untyped-call]
    return _raised(_together(client, [("ASKING",), request])[1])


async def _aask(client: "redis.asyncio.Redis", request: _Request, *, asking: bool) -> Any:
    if not asking:
        return await client.execute_command(*request)  # type: ignore[no-untyped-call]
    return _raised((await _atogether(client, [("ASKING",), request]))[1])


def _together(client: "redis.Redis", requests: Sequence[_Request]) -> list[Any]:
    with client.pipeline(transaction=False) as made:
        pipeline: Any = made
        for each in requests:
            pipeline.execute_command(*each)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies


async def _atogether(client: "redis.asyncio.Redis", requests: Sequence[_Request]) -> list[Any]:
    async with client.pipeline(transaction=False) as made:
        # Its methods queue; the annotations say that they are to be awaited.
        pipeline: Any = made
        for each in requests:
            pipeline.execute_command(*each)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


def _raised(reply: Any) -> Any:
    if isinstance(reply, CONNECTION_FAILURES):
        raise reply
    return reply
