"""What the application needs to know of a protocol: its routes, and how it tells failures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evented_agent.web.exchange import PlainReply
from evented_agent.web.failures import HttpFailure
from evented_agent.web.route import Route


@dataclass(frozen=True, slots=True)
class Face:
    """The protocol of a client that exists.

    Attributes:
        prefix: Where it is mounted, below where the application is.
        routes: Its routes; they are not in the OpenAPI document, which is about the native ones.
        failure: How it tells a request that is refused.
    """

    prefix: str
    routes: Sequence[Route]
    failure: Callable[[HttpFailure], PlainReply]
