"""Who asks, and for what: the vocabulary of authorisation.  Does no I/O."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, get_args

from starlette.requests import Request

from evented_agent.state.run_info import RunInfo

ActionName = Literal["start", "list", "read", "decide", "act", "delete", "operate"]

#: All that may be asked for.
ACTION_NAMES: tuple[ActionName, ...] = get_args(ActionName)


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody asks for.

    Attributes:
        name: "start" (a run), "list" (runs, calls that wait, conversations), "read" (a run, its
            stream, a conversation), "decide" (approve, decline, answer), "act" (send a message,
            abort, retry, cancel, give a conversation a title), "delete" (a run, a conversation),
            "operate" (workers and other things that concern the deployment, not one person). A
            message that begins a run asks for "start" as well, one that declines for "decide".
        agent: The id of the agent that is to be started; None for all else.
    """

    name: ActionName
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: made by your `authorize`, from your own sign-in.

    Attributes:
        name: What their decisions are recorded under, and limits counted by.
        resource_id: Whose runs they start, list, read and change; another's do not exist for them.
        all_resources: They see the runs of everybody, and of nobody: a service of yours, not a
            person. Limits do not concern them.
        scopes: What they may do; by default all but "operate".

    Raises `ValueError` for one that has neither a *resource_id* nor *all_resources*.
    """

    name: str
    resource_id: str | None = None
    all_resources: bool = False
    scopes: frozenset[ActionName] = frozenset(ACTION_NAMES) - {"operate"}

    def __post_init__(self) -> None:
        if self.all_resources is bool(self.resource_id):
            raise ValueError(
                f"Principal({self.name!r}) needs a resource_id, whose runs it is about, or "
                "all_resources=True, and not both."
            )
        if unknown := set(self.scopes) - set(ACTION_NAMES):
            raise ValueError(f"scopes={sorted(unknown)}: use some of {', '.join(ACTION_NAMES)}.")
        object.__setattr__(self, "scopes", frozenset(self.scopes))


#: Says who asks, and so whose runs they see; None for nobody, or nobody who may do that. It is
#: given the run that is meant, None where there is none of that name, or no run is meant. A plain
#: function is called in a thread, so that it may look into a database.
Authorize = Callable[
    [Request, Action, RunInfo | None], Principal | Awaitable[Principal | None] | None
]
