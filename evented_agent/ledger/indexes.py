"""Scripts of the indexes in which runs are found."""

from collections.abc import Sequence
from typing import Any

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.script import Command, command


def indexes_of(agent: str, thread: str | None, resource: str | None) -> list[tuple[str, str]]:
    """Return the indexes that a run is found in, beside that of its status.

    That of a resource's threads holds thread ids: conversations live longer than their runs.
    """
    found = [("all", ""), ("agent", agent)]
    if thread:
        found.append(("thread", thread))
    if resource:
        found.append(("resource", resource))
    if thread and resource:
        found.append(("threads", resource))
    return found


def list_index(
    keys: Keys,
    shard: int,
    index: tuple[str, str],
    *,
    since: int,
    offset: int,
    limit: int,
    until: int | None = None,
) -> Command[Sequence[tuple[int, str]]]:
    """Return times and run ids of one index, newest first; all times in ms."""

    def parse(reply: Any) -> Sequence[tuple[int, str]]:
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return [(int(float(score)), run_id.decode()) for run_id, score in pairs]

    return command(
        "indexes/list",
        (keys.index(shard, *index),),
        parse,
        newest="+inf" if until is None else until,
        oldest=since,
        offset=offset,
        limit=limit,
    )


def count_common(
    keys: Keys, shard: int, index: tuple[str, str], statuses: Sequence[str], *, most: int
) -> Command[int]:
    """Return how many runs of an index have one of *statuses*; at most *most* of each."""
    others = [keys.index(shard, "status", status) for status in statuses]
    return command("indexes/count_common", (keys.index(shard, *index), *others), int, most=most)


def forget(keys: Keys, shard: int, index: tuple[str, str], run_ids: Sequence[str]) -> Command[int]:
    """Take runs that have expired out of an index."""
    return command("indexes/forget", (keys.index(shard, *index),), int, rest=run_ids)


def trim(
    keys: Keys, shard: int, status: str, *, agents: Sequence[str], ended_before: int
) -> Command[int]:
    """Take runs whose records have expired out of the indexes; returns how many there were."""
    indexes = [("status", status), ("all", ""), *(("agent", agent) for agent in agents)]
    where = [keys.index(shard, *index) for index in indexes]
    return command("indexes/trim", where, int, ended_before=ended_before)


def oldest(name: str, *, before: int, offset: int, limit: int) -> Command[Sequence[str]]:
    """Return runs of the index with that key whose time is *before* (ms), oldest first."""
    return command(
        "indexes/oldest",
        (name,),
        lambda reply: [run_id.decode() for run_id in reply],
        before=before,
        offset=offset,
        limit=limit,
    )


def forget_gone(keys: Keys, name: str, run_ids: Sequence[str]) -> Command[int]:
    """Take those out of the index with that key whose records have expired; how many there were."""
    records = [keys.of(run_id).run for run_id in run_ids]
    return command("indexes/forget_gone", (name, *records), int, rest=run_ids)


def forget_gone_threads(keys: Keys, shard: int, name: str, digests: Sequence[str]) -> Command[int]:
    """Take conversations that have expired out of the index with that key; how many there were."""
    kept = [keys.thread_at(shard, digest)[2] for digest in digests]
    return command("indexes/forget_gone", (name, *kept), int, rest=digests)
