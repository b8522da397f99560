"""Which master of a cluster has which slot, as a process knows it.  Does no I/O itself.

redis-py's cluster client is not used: it refuses EVALSHA in pipelines, and hides retries that
`connection` has to count.
"""

import random
from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError

from evented_agent.ledger.address import Node


class SlotMap:
    """Shared by all threads and event loops of a process: a change is one assignment."""

    def __init__(self, seeds: Sequence[Node]) -> None:
        self.is_stale = True
        self._seeds = tuple(seeds)
        self._known: tuple[Node, ...] = ()
        self._owners: dict[int, Node] = {}

    def owner(self, key: str) -> Node:
        """The master that has *key*; raises `ClusterDownError` where nobody serves its slot."""
        slot = key_slot(key.encode())
        found = self._owners.get(slot)
        if found is None:
            self.is_stale = True
            raise ClusterDownError(f"CLUSTERDOWN Nobody serves slot {slot}")
        return found

    @property
    def is_known(self) -> bool:
        return not self.is_stale

    def masters(self) -> list[Node]:
        """All masters that have slots."""
        return sorted(set(self._owners.values()))

    def candidates(self) -> list[Node]:
        """Whom to ask about the slots, in any order: one that was cut off may know old news."""
        nodes = list({*self._known, *self._seeds})
        random.shuffle(nodes)
        return nodes

    def doubt(self) -> None:
        """Ask again before the next use: somebody may have taken over."""
        self.is_stale = True

    def learn(self, reply: Any, asked: Node) -> None:
        """Take over what *asked* answered to CLUSTER SLOTS."""
        owners: dict[int, Node] = {}
        known: set[Node] = set()
        for first, last, *nodes in reply:
            found = [_node(each, asked) for each in nodes]
            known.update(found)
            owners.update(dict.fromkeys(range(int(first), int(last) + 1), found[0]))
        self._known = tuple(known)
        self._owners = owners
        self.is_stale = False

    def moved(self, error: AskError) -> None:
        """Note where a slot is now."""
        if not error.host:
            # The node that was asked, at another port: the error does not say which node.
            self.doubt()
            return
        here = Node(error.host, error.port)
        if self._owners.get(error.slot_id) != here:
            self._owners = {**self._owners, error.slot_id: here}


def _node(said: Any, asked: Node) -> Node:
    host = said[0].decode() if isinstance(said[0], bytes) else said[0]
    # Nodes that do not know their own name leave it to whoever has reached them.
    return Node(asked.host if host in (None, "", "?") else host, int(said[1]))
