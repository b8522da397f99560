"""Scripts of the indexes in which runs are found."""

from collections.abc import Sequence
from typing import Any

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.script import Call, script


def indexes(agent: str, thread: str | None, resource: str | None) -> list[tuple[str, str]]:
    """The indexes that a run is found in, beside that of its status."""
    found = [("all", ""), ("agent", agent)]
    if thread:
        found.append(("thread", thread))
    if resource:
        found.append(("resource", resource))
    return found


def list_runs(
    keys: Keys,
    shard: int,
    index: tuple[str, str],
    *,
    since: int,
    offset: int,
    limit: int,
    until: int | None = None,
) -> Call[Sequence[tuple[int, str]]]:
    """Return times and run ids of one index, newest first; all times in ms."""

    def parse(reply: Any) -> Sequence[tuple[int, str]]:
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return [(int(float(score)), run_id.decode()) for run_id, score in pairs]

    newest = "+inf" if until is None else until
    return Call(
        script("indexes/list"), (keys.index(shard, *index),), (newest, since, offset, limit), parse
    )


def forget(keys: Keys, shard: int, index: tuple[str, str], run_ids: Sequence[str]) -> Call[int]:
    """Take expired runs out of an index."""
    return Call(script("indexes/forget"), (keys.index(shard, *index),), tuple(run_ids), int)


def trim(
    keys: Keys, shard: int, status: str, *, agents: Sequence[str], ended_before: int
) -> Call[int]:
    """Take runs whose records have expired out of the indexes; how many were."""
    indexes = [("status", status), ("all", ""), *(("agent", agent) for agent in agents)]
    return Call(
        script("indexes/trim"),
        [keys.index(shard, *index) for index in indexes],
        (ended_before,),
        int,
    )
