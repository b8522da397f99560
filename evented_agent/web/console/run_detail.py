"""One run: its picture, what it says, its steps, its chunks, its background calls."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from evented_agent.chunks import AnyChunk
from evented_agent.errors import EventedAgentError
from evented_agent.logs import logger_of
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import BackgroundTask, RunResult
from evented_agent.state.task_attempt import AttemptList, TaskAttempt
from evented_agent.web.access import Allowed
from evented_agent.web.console.asked import asked_for
from evented_agent.web.console.clock import clocked
from evented_agent.web.console.commands import curl_get, curl_post
from evented_agent.web.console.log import as_wire, last_seq, log_so_far
from evented_agent.web.console.people import operated_run
from evented_agent.web.console.questions import questions_in
from evented_agent.web.console.timeline import Picture, bars_of, picture_of
from evented_agent.web.console.view import View
from evented_agent.web.console.visible import json_text
from evented_agent.web.exchange import Exchange, PlainReply, bad_request
from evented_agent.web.site import Site, Verb, WebSteps

logger = logger_of(__name__)

#: Up to how many chunks a page asks again after so many seconds.
_PACES = ((2_000, 2), (10_000, 5), (2**63, 15))
#: Chunks of one page.
_CHUNKS = 200
#: Pieces of text and arguments, which are most of a log.
_DELTAS = ("text-delta", "reasoning-delta", "tool-call-delta")


@dataclasses.dataclass(frozen=True, slots=True)
class RunTab:
    """One of the pages about a run.

    Attributes:
        name: Its part of the address; "" for the first.
        title: What it is called.
    """

    name: str
    title: str


TABS = (
    RunTab("", "Conversation"),
    RunTab("steps", "Steps"),
    RunTab("chunks", "Chunks"),
    RunTab("background", "Background"),
)


def get_console_run(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """What a run does and says."""
    view, allowed = yield from operated_run(site, exchange, "read")
    chunks = yield from log_so_far(allowed.info)
    result = None
    if chunks is None:
        # What readers would be told is gone; the record has what it came to.
        result = yield from _readable(Verb("result", (allowed.run_id,)))
    questions = yield from questions_in(view, allowed.info.pending)
    attempts: AttemptList = yield Verb("attempts", (allowed.run_id,))
    values = {
        **_values(view, allowed, "", chunks, attempts),
        "questions": questions,
        "result": result,
    }
    return view.reply("run", **values)


def get_console_run_steps(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Each step of a run: what the model was told and said, its calls, what they came to."""
    view, allowed = yield from operated_run(site, exchange, "read")
    chunks = yield from log_so_far(allowed.info)
    result: RunResult[Any] | None = yield from _readable(Verb("result", (allowed.run_id,)))
    attempts: AttemptList = yield Verb("attempts", (allowed.run_id,))
    values = {
        **_values(view, allowed, "steps", chunks, attempts),
        "result": result,
        "decisions": _by_call(allowed.info),
        "curl": curl_get(view.absolute("runs", allowed.name, "result")),
    }
    return view.reply("steps", **values)


def get_console_run_chunks(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The chunks of a run as they are, page by page."""
    view, allowed = yield from operated_run(site, exchange, "read")
    after = _number(exchange, "after")
    has_deltas = asked_for(exchange, "deltas") == "1"
    most = _CHUNKS if has_deltas else 20 * _CHUNKS
    chunks = yield from log_so_far(allowed.info, after=after, most=most)
    shown = [c for c in chunks or () if has_deltas or c.type not in _DELTAS][:_CHUNKS]
    last = shown[-1].seq if len(shown) == _CHUNKS else (chunks[-1].seq if chunks else after)
    stream = view.absolute("runs", allowed.name, "stream", after=str(after) if after else None)
    values = {
        **_values(view, allowed, "chunks", None),
        "is_expired": chunks is None,
        "chunks": shown,
        "raw": "\n".join(json_text(each, is_short=True) for each in as_wire(shown)),
        "after": after,
        "has_deltas": has_deltas,
        "next_after": last if last < last_seq(allowed.info) else None,
        "curl": curl_get(stream, is_stream=True),
    }
    return view.reply("chunks", **values)


def get_console_run_background(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The background calls of a run."""
    view, allowed = yield from operated_run(site, exchange, "read")
    asked = Verb("background_tasks", (allowed.run_id,))
    tasks: Sequence[BackgroundTask] | None = yield from _readable(asked)
    return view.reply("background", **_values(view, allowed, "background", None), tasks=tasks)


def _values(
    view: View,
    allowed: Allowed,
    tab: str,
    chunks: Sequence[AnyChunk] | None,
    attempts: AttemptList | None = None,
) -> dict[str, Any]:
    """What every page about a run shows."""
    info = allowed.info
    picture = picture_of(chunks, info.run_id) if chunks else None
    if attempts is not None:
        picture = clocked(picture or Picture(), attempts, info)
    abort = view.absolute("runs", allowed.name, "abort")
    return {
        "title": f"Run {info.run_id[:12]}",
        "info": info,
        "name": allowed.name,
        "tab": tab,
        "tabs": TABS,
        "picture": picture,
        "is_cut": chunks is not None and bool(chunks) and chunks[-1].seq < last_seq(info),
        "every": _seconds(info),
        "bars": bars_of,
        "attempts": attempts,
        "task_ids": _task_ids(info, picture, attempts or ()),
        "flower": view.site.flower_url,
        "abort_curl": curl_post(abort, {"reason": "no longer needed"}),
    }


def _seconds(info: RunInfo) -> int:
    """How often a page asks again: to draw a long log takes its time."""
    if info.is_ended:
        return 0
    return next(seconds for most, seconds in _PACES if last_seq(info) <= most)


def _task_ids(
    info: RunInfo, picture: Picture | None, attempts: Sequence[TaskAttempt]
) -> Mapping[str, str]:
    """Celery's id of each task, of the last attempt that is known."""
    numbers = picture.attempts if picture is not None else {}
    # A child's tasks are named after its branch of the tree.
    root, mark, branch = info.run_id.partition("~")
    place = f"{root}:{mark}{branch}/" if mark else f"{root}:"
    told = {key: f"{place}{key}:{number}" for key, number in numbers.items()}
    # A child's tasks have the same names within the child.
    own = [each for each in attempts if each.run_id == info.run_id]
    return told | {each.task: each.celery_id for each in own if each.celery_id}


def _readable(verb: Verb) -> WebSteps[Any]:
    """What the journal tells; None where it is damaged: the rest of the run is shown."""
    try:
        return (yield verb)
    except EventedAgentError:
        raise
    except ValueError:
        logger.warning("The journal of run %s cannot be read", verb.arguments[0])
        return None


def _by_call(info: RunInfo) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for decision in info.decisions:
        found.setdefault(decision.tool_call_id, []).append(decision)
    return found


def _number(exchange: Exchange, name: str) -> int:
    given = asked_for(exchange, name) or "0"
    if not (given.isascii() and given.isdigit() and len(given) <= 15):
        raise bad_request(f"{name}={given[:40]!r}: use the number of a chunk.")
    return int(given)
