"""What people are asked: the calls that wait, with all that somebody has to know to decide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import ToolCallApproval, ToolCallSuspended
from evented_agent.errors import RunDeleted, RunNotFound
from evented_agent.state.run_info import RunInfo
from evented_agent.web.console.commands import curl_post
from evented_agent.web.console.log import log_so_far
from evented_agent.web.console.view import View
from evented_agent.web.site import Verb, WebSteps


@dataclass(frozen=True, slots=True)
class Question:
    """A call that waits for a person.

    Attributes:
        pending: The call, with all of its arguments.
        is_whole: Whether those are all: not, where they are very large and the log has expired.
        curl: A command line that approves it, where it can be approved.
    """

    pending: Pending
    is_whole: bool
    curl: str | None

    @property
    def key(self) -> str:
        """Names it in a page."""
        return f"{self.pending.run_id}-{self.pending.number}".replace(".", "_")


def questions_in(view: View, pending: Sequence[Pending]) -> WebSteps[list[Question]]:
    """The questions of *pending*, large arguments fetched from the log."""
    found = []
    for each in pending:
        whole = yield from _whole(each)
        found.append(Question(whole or each, whole is not None, _curl(view, each)))
    return found


def _whole(pending: Pending) -> WebSteps[Pending | None]:
    """The call with its arguments; where they are very large, the chunk alone has them."""
    if pending.arguments:
        return pending
    try:
        info: RunInfo = yield Verb("get", (pending.run_id,))
        chunks = yield from log_so_far(info, after=pending.number - 1, most=1)
    except (RunNotFound, RunDeleted):
        return None
    for chunk in chunks or ():
        if isinstance(chunk, ToolCallApproval | ToolCallSuspended) and chunk.seq == pending.number:
            return replace(pending, arguments=chunk.payload.arguments)
    # Asked after a crash, it is another chunk's call, which need not have any.
    return pending if chunks is not None else None


def _curl(view: View, pending: Pending) -> str | None:
    if pending.kind != "approval":
        return None
    body: dict[str, Any] = {"number": pending.number}
    return curl_post(view.absolute("runs", pending.run_id, "approve"), body)
