"""What a failure means for one ledger: where to ask next, and in which words to give up.

What an error reply means by itself is in `error_replies`.  Does no I/O itself.
"""

from redis.exceptions import AskError, MovedError

from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger.address import Node, safe_url
from evented_agent.ledger.connection_limit import NoFreeConnection
from evented_agent.ledger.error_replies import Refusal, refusal_of
from evented_agent.ledger.slots import SlotMap

_MOVED = "the slot of this run has moved to another node"


class Failures:
    """Reads failures; in a cluster with those slots, notes what they say about them."""

    def __init__(self, url: str, slots: SlotMap | None) -> None:
        self._where = f"Redis at {safe_url(url)}"
        self._slots = slots

    def refuse_what_stays(self, error: BaseException) -> None:
        """Raise `LedgerUnavailable` where no other try can help."""
        if isinstance(error, LedgerUnavailable):
            if not error.retryable:
                raise error
            return
        refusal = self._refusal(error)
        if not refusal.passes:
            raise self._refused(refusal) from None

    def passes(self, error: BaseException) -> bool:
        """Whether another try may help."""
        return self._refusal(error).passes

    def is_elsewhere(self, error: BaseException) -> bool:
        """Whether only a new connection helps; a cluster's slots are doubted, or known better."""
        if isinstance(error, LedgerUnavailable):
            return False
        refusal = self._refusal(error)
        if self._slots is not None and refusal.passes:
            if isinstance(error, MovedError):
                self._slots.moved(error)
            elif refusal.reconnects or refusal.word in ("", "CLUSTERDOWN"):
                self._slots.doubt()
        return refusal.reconnects

    def is_redirect(self, error: BaseException) -> bool:
        """Whether a node of a cluster named another one, which is to be asked at once."""
        return self._slots is not None and isinstance(error, AskError)

    def next_node(self, error: BaseException) -> Node | None:
        """The node that is to be asked although it does not have the slot yet."""
        if self._slots is None or not isinstance(error, AskError) or isinstance(error, MovedError):
            return None
        return Node(error.host, error.port) if error.host else None

    def as_error(self, error: BaseException) -> LedgerUnavailable:
        """What the caller is told when there is no other try."""
        refusal = self._refusal(error)
        if not refusal.passes:
            return self._refused(refusal)
        if refusal.word:
            how = f"{self._where} says not now ({refusal.text}): {refusal.meaning}."
        elif isinstance(error, NoFreeConnection):
            how = f"{self._where} was not asked: {error}."
        else:
            how = f"{self._where} could not be reached ({refusal.text})."
        return LedgerUnavailable(
            f"{how} Whether the last write happened is not known; the call may be repeated with "
            "the same run id."
        )

    def _refusal(self, error: BaseException) -> Refusal:
        refusal = refusal_of(error)
        if self._slots is not None and refusal.word == "MOVED":
            return Refusal(refusal.word, refusal.text, passes=True, meaning=_MOVED)
        return refusal

    def _refused(self, refusal: Refusal) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"{self._where} refused ({refusal.text}). {refusal.meaning}", retryable=False
        )
