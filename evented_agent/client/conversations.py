"""Plans of conversations as things: lists of them, one of them, and what it is called."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from evented_agent.chunks.json_values import without_surrogates
from evented_agent.client.deployment import Deployment
from evented_agent.client.index_pages import IndexPages
from evented_agent.client.listing import read_records
from evented_agent.client.owner import label_of, thread_of
from evented_agent.errors import DeclarationError, ThreadNotFound
from evented_agent.given import check_optional_time
from evented_agent.ledger import threads
from evented_agent.ledger.indexes import forget_gone_threads
from evented_agent.ledger.keys import CONVERSATIONS, Keys, digest_of, thread_name
from evented_agent.ledger.plan import Plan, send, send_all
from evented_agent.ledger.records import Record
from evented_agent.ledger.threads import Conversation
from evented_agent.models.messages import MOST_SHORT
from evented_agent.state.thread_info import ThreadInfo, thread_info_of


class ThreadPage(list[ThreadInfo]):
    """The conversations of one page; *next_page*, if there is one, is the ``page`` that follows."""

    def __init__(self, threads: Sequence[ThreadInfo] = (), next_page: str | None = None) -> None:
        super().__init__(threads)
        self.next_page = next_page


def page_of_threads(
    at: Deployment,
    resource_id: str | None,
    *,
    since: datetime | None,
    limit: int,
    page: str | None,
) -> Plan[ThreadPage]:
    """The conversations in use last, of a resource or of all, at most *limit*."""
    check_optional_time("since", since)
    index = (CONVERSATIONS[0], label_of(resource_id, "resource_id") or "")
    pages = IndexPages(
        at.keys,
        index,
        since,
        read=lambda shard, digests: _read(at.keys, shard, digests),
        matches=lambda _: True,
        forget=lambda shard, gone: forget_gone_threads(
            at.keys, shard, at.keys.index(shard, *index), gone
        ),
    )
    found, next_page = yield from pages.page(limit, page)
    holders = yield from _holders(at, found)
    return ThreadPage([thread_info_of(each, holders.get(each.turn)) for each in found], next_page)


def page_after(info: ThreadInfo) -> str:
    """The ``page`` that follows a conversation of a list."""
    name = thread_name(info.thread_id, info.resource_id)
    return f"{round(info.updated_at.timestamp() * 1000)}.{digest_of(name)}"


def read_thread_info(
    at: Deployment, thread_id: str, resource_id: str | None
) -> Plan[ThreadInfo | None]:
    name = thread_name(*thread_of(thread_id, resource_id))
    found = yield from send(threads.look_at(at.keys, name))
    if found is None:
        return None
    return thread_info_of(found, (yield from _holders(at, [found])).get(found.turn))


def rename_thread(
    at: Deployment, thread_id: str, title: str | None, resource_id: str | None
) -> Plan[None]:
    name = thread_name(*thread_of(thread_id, resource_id))
    if not (yield from send(threads.retitle(at.keys, name, _checked_title(title)))):
        raise ThreadNotFound(thread_id, resource_id)


def _checked_title(title: object) -> str:
    if title is None:
        return ""
    if isinstance(title, str) and len(title) <= MOST_SHORT and without_surrogates(title) == title:
        return title
    raise DeclarationError(
        f"title={title!r}: use a text of up to {MOST_SHORT} characters, or None."
    )


def _read(keys: Keys, shard: int, digests: Sequence[str]) -> Plan[dict[str, Conversation]]:
    """What there is of conversations."""
    replies = yield from send_all([threads.look_at_listed(keys, shard, each) for each in digests])
    found: dict[str, Conversation] = {}
    for digest, reply in zip(digests, replies, strict=True):
        if isinstance(reply, Exception):
            raise reply
        if reply is not None:
            found[digest] = reply
    return found


def _holders(at: Deployment, found: Sequence[Conversation]) -> Plan[Mapping[str, Record]]:
    """The runs that have the turn in conversations, by id, without those that are gone."""
    run_ids = sorted({each.turn for each in found if each.turn})
    return (yield from read_records(at.keys, run_ids))
