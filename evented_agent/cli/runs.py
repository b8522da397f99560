"""``runs ls | show | watch | abort | delete``: what there is, with no agent code needed."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import cast, get_args

import click

from evented_agent.agents.tools.approvals import Pending
from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.follow import Follower, judge
from evented_agent.cli.output import (
    ago,
    call_line,
    cost_line,
    on_one_line,
    printable,
    short,
    to_json,
)
from evented_agent.cli.places import ids_of
from evented_agent.cli.timeline import timeline
from evented_agent.client.follow import start_of
from evented_agent.client.listing import RunPage
from evented_agent.client.runs import Runs
from evented_agent.ledger.records import ENDED
from evented_agent.models.cost import usd_text
from evented_agent.models.messages import dump_messages
from evented_agent.state.run_info import ChildInfo, RunInfo, Status

#: Most characters of what was asked in a line of a list.
_WORDS = 50
_HEADERS = ("RUN", "AGENT", "STATUS", "STEP", "TOKENS", "COST", "CREATED", "THREAD", "RESOURCE", "")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def since_of(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """Read a span before now (``90s``, ``15m``, ``1h``, ``7d``, ``2w``), or an ISO time."""
    if value is None:
        return None
    if span := re.fullmatch(r"(\d{1,6})([smhdw])", value):
        return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a span such as 1h nor a time.") from None


def _cursor(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        start_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.group()
@shared
def runs(choices: Choices) -> None:
    """See, follow, end and delete runs."""


@runs.command("ls")
@click.option("--status", type=click.Choice(get_args(Status)))
@click.option("--agent", metavar="ID")
@click.option("--thread", metavar="ID")
@click.option("--resource", metavar="ID")
@click.option("--since", callback=since_of, metavar="SPAN", help="1h, 7d, or an ISO time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--page", metavar="PAGE", help="What the page before named as the next.")
@shared
def list_runs(
    choices: Choices,
    status: str | None,
    agent: str | None,
    thread: str | None,
    resource: str | None,
    since: datetime | None,
    limit: int,
    page: str | None,
) -> None:
    """List the newest runs that match all that is given."""
    output = choices.output

    def look(client: Runs) -> RunPage:
        return client.list(
            status=cast("Status | None", status),
            agent=agent,
            thread_id=thread,
            resource_id=resource,
            since=since,
            limit=limit,
            page=page,
        )

    pages = [look(client) for client in choices.places.all]
    # Lists are by the time when runs were created; those of a status that ends runs, by that time.
    is_by_end = status in ENDED and thread is None and resource is None

    def place(info: RunInfo) -> tuple[int, str]:
        moment = info.ended_at if is_by_end else info.created_at
        return int(cast(datetime, moment).timestamp() * 1000), info.run_id

    found = sorted(chain.from_iterable(pages), key=place, reverse=True)[:limit]
    if output.is_json:
        for info in found:
            output.record(to_json(info))
    elif found:
        ids = ids_of(found)
        output.table(*_table([(info, ids[info.run_id]) for info in found]))
    else:
        output.note(f"No such runs at {choices.places.description}.")
    if any(each.next_page for each in pages) or sum(map(len, pages)) > limit:
        output.note("There are more: --page {}.{}".format(*place(found[-1])))


@runs.command("show")
@click.argument("run_id", metavar="RUN")
@shared
def show_run(choices: Choices, run_id: str) -> None:
    """Show a run's state, and step by step what happened: when, where, and at which attempt."""
    output = choices.output
    client, run_id = choices.places.find(run_id)
    info = client.get(run_id)
    result = client.result(run_id)
    attempts = client.attempts(run_id)
    if output.is_json:
        more = {
            "text": result.text,
            "messages": dump_messages(result.messages),
            "attempts": to_json(attempts),
            "attempts_left_out": attempts.left_out,
        }
        output.record(to_json(info) | more)
        return
    output.pairs(_facts(info))
    output.pairs([("last task", attempts[-1].celery_id if attempts else None)])
    output.line()
    for line in timeline(info, result, attempts):
        output.line(line)


@runs.command("watch")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--after", callback=_cursor, default="0", metavar="CURSOR", help="Go on after this chunk."
)
@shared
def watch_run(choices: Choices, run_id: str, after: str) -> None:
    """Follow a run from its start, or from a cursor.  Ctrl-C leaves it running."""
    follower = Follower(choices, run_id, after)
    try:
        client, follower.run_id = choices.places.find(run_id)
        client.observe(follower.run_id, after=after)
        info = follower.follow(client)
    except KeyboardInterrupt:
        follower.detach()
    judge(choices, info)


@runs.command("abort")
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Shown to whoever follows the run.")
@shared
def abort_run(choices: Choices, run_id: str, reason: str | None) -> None:
    """End a run; what it has said so far stays."""
    client, run_id = choices.places.find(run_id)
    is_asked = client.abort(run_id, reason=reason)
    if choices.output.is_json:
        choices.output.record({"run_id": run_id, "is_aborting": is_asked})
    outcome = "is being aborted" if is_asked else "had ended before"
    choices.output.note(f"Run {run_id} {outcome}.")


@runs.command("delete")
@click.argument("run_id", metavar="RUN", required=False)
@click.option("--resource", metavar="ID", help="All runs and conversations of a resource instead.")
@shared
def delete_run(choices: Choices, run_id: str | None, resource: str | None) -> None:
    """Remove everything of a run, also of a running one, or of a resource.

    With -A also the copies in Celery's result backend.
    """
    if (run_id is None) == (resource is None):
        raise click.UsageError("Give either a RUN or --resource.")
    output = choices.output
    if run_id is not None:
        client, run_id = choices.places.find(run_id)
        client.delete(run_id)
        record, note = {"run_id": run_id, "is_deleted": True}, f"Run {run_id} is deleted."
    else:
        whose = cast(str, resource)
        count = sum(place.delete(resource_id=whose) for place in choices.places.all)
        record = {"resource_id": resource, "deleted_runs": count}
        note = f"{count} runs of {resource} are deleted, and its conversations."
    if output.is_json:
        output.record(record)
    output.note(note)


def _table(
    found: Sequence[tuple[RunInfo, str]],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows, without a column of costs where nothing was priced."""
    rows = [_row(info, short_id) for info, short_id in found]
    if any(info.cost for info, _ in found):
        return _HEADERS, rows
    at = _HEADERS.index("COST")
    return _HEADERS[:at] + _HEADERS[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]


def _row(info: RunInfo, short_id: str) -> tuple[str, ...]:
    more = on_one_line(info.asked)
    more = more if len(more) <= _WORDS else f"{more[: _WORDS - 1]}…"
    if info.waiting_for:
        more = f"waits for {info.waiting_for.partition(';')[0]}"
    elif info.error:
        more = short(f"{info.error.name}: {info.error.message}")
    return (
        short_id,
        info.agent,
        info.status,
        str(info.step),
        str(info.usage.total_tokens),
        usd_text(info.cost),
        ago(info.created_at),
        info.thread_id or "",
        info.resource_id or "",
        more,
    )


def _facts(info: RunInfo) -> list[tuple[str, object]]:
    reason = f" ({info.finish_reason})" if info.finish_reason else ""
    usage = info.usage
    return [
        ("run", info.run_id),
        ("agent", info.agent),
        ("status", f"{info.status}{reason}"),
        ("step", info.step),
        ("worker", info.worker),
        ("waiting for", info.waiting_for),
        ("thread", info.thread_id),
        ("resource", info.resource_id),
        ("created", _moment(info.created_at)),
        ("started", _moment(info.started_at)),
        ("ended", _moment(info.ended_at)),
        ("tokens", f"{usage.input_tokens} in, {usage.output_tokens} out"),
        ("cost", cost_line(info.cost)),
        ("error", info.error and printable(f"{info.error.name}: {info.error.message}")),
        ("cursor", info.cursor),
        *(("pending", _pending(pending)) for pending in info.pending),
        *(("message", f"{printable(each)} (waits to be answered)") for each in info.inbox),
        ("part of", info.parent_id),
        *(("child", _child(child)) for child in info.children),
    ]


def _child(child: ChildInfo) -> str:
    return f"{child.run_id}  {child.agent}  {child.status}, {child.usage.total_tokens} tokens"


def _pending(pending: Pending) -> str:
    call = call_line(pending.tool_name, dict(pending.arguments), is_whole=True)
    return f"{pending.tool_call_id} {call} ({pending.kind})"


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return f"{moment.astimezone().isoformat(sep=' ', timespec='seconds')} ({ago(moment)})"
