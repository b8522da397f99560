"""A route: which requests it is for, what answers them, and what it says of itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evented_agent.web.exchange import Exchange
from evented_agent.web.site import Site, WebSteps

Handler = Callable[[Site, Exchange], WebSteps[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        method: The HTTP method.
        path: With placeholders, ``{run_id}``, each of one segment; ``{call_id}`` of any number.
        handler: What answers.
        answers: The statuses that it may answer with, beside those that any route may.
        query: The names of its query parameters, each with its JSON schema.
        body: The fields of its JSON body, each with its JSON schema.
        needs: Those of the fields that must be there.
        is_open: Whether nobody has to sign in.
        media_type: The form of what it answers with.
    """

    method: str
    path: str
    handler: Handler
    answers: Sequence[int] = (200,)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    needs: Sequence[str] = ()
    is_open: bool = False
    media_type: str = "application/json"

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").partition("\n")[0].rstrip(".")
