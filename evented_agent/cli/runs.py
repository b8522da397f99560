"""``runs ls | show | watch | abort | delete``: what there is, with no agent code needed."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import click

from evented_agent.agents.tools.approvals import Pending
from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.follow import Follower, judge
from evented_agent.cli.output import (
    Printer,
    ago,
    call_line,
    decided_line,
    printable,
    short,
    to_json,
)
from evented_agent.client.follow import start_of
from evented_agent.ledger.address import safe_url
from evented_agent.models.messages import AssistantMessage, Message, ToolMessage, dump_messages
from evented_agent.state.run_info import RunInfo, Status

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
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
@click.option("--since", callback=_since, metavar="SPAN", help="1h, 7d, or an ISO time.")
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
    client, output = choices.runs(), choices.output
    found = client.list(
        status=cast("Status | None", status),
        agent=agent,
        thread_id=thread,
        resource_id=resource,
        since=since,
        limit=limit,
        page=page,
    )
    if output.is_json:
        for info in found:
            output.record(to_json(info))
    elif found:
        headers = ("RUN", "AGENT", "STATUS", "STEP", "CREATED", "")
        output.table(headers, [_row(info) for info in found])
    else:
        where = f"{safe_url(client.redis_url)} under prefix {client.settings.prefix!r}"
        output.note(f"No such runs at {where}.")
    if found.next_page:
        output.note(f"There are more: --page {found.next_page}")


@runs.command("show")
@click.argument("run_id", metavar="RUN")
@shared
def show_run(choices: Choices, run_id: str) -> None:
    """Show a run's state and its conversation so far."""
    client, output = choices.runs(), choices.output
    info = client.get(run_id)
    result = client.result(run_id)
    if output.is_json:
        conversation = {"text": result.text, "messages": dump_messages(result.messages)}
        output.record(to_json(info) | conversation)
        return
    output.pairs(_facts(info))
    for message in result.messages:
        _say(output, message)


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
        client = choices.runs()
        client.observe(run_id, after=after)
        info = follower.follow(client)
    except KeyboardInterrupt:
        follower.detach()
    judge(choices.output, info)


@runs.command("abort")
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Shown to whoever follows the run.")
@shared
def abort_run(choices: Choices, run_id: str, reason: str | None) -> None:
    """End a run; what it has said so far stays."""
    is_asked = choices.runs().abort(run_id, reason=reason)
    if choices.output.is_json:
        choices.output.record({"runId": run_id, "isAborting": is_asked})
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
        choices.runs().delete(run_id)
        record, note = {"runId": run_id, "isDeleted": True}, f"Run {run_id} is deleted."
    else:
        count = choices.runs().delete(resource_id=cast(str, resource))
        record = {"resourceId": resource, "deletedRuns": count}
        note = f"{count} runs of {resource} are deleted, and its conversations."
    if output.is_json:
        output.record(record)
    output.note(note)


def _row(info: RunInfo) -> tuple[str, ...]:
    more = ""
    if info.waiting_for:
        more = f"waits for {info.waiting_for.partition(';')[0]}"
    elif info.error:
        more = short(f"{info.error.name}: {info.error.message}")
    return (info.run_id, info.agent, info.status, str(info.step), ago(info.created_at), more)


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
        ("error", info.error and printable(f"{info.error.name}: {info.error.message}")),
        ("cursor", info.cursor),
        *(("decided", decided_line(decision)) for decision in info.decisions),
        *(("pending", _pending(pending)) for pending in info.pending),
    ]


def _pending(pending: Pending) -> str:
    call = call_line(pending.tool_name, dict(pending.arguments), is_whole=True)
    return f"{pending.tool_call_id} {call} ({pending.kind})"


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return f"{moment.astimezone().isoformat(sep=' ', timespec='seconds')} ({ago(moment)})"


def _say(output: Printer, message: Message) -> None:
    output.line()
    if isinstance(message, ToolMessage):
        sign = "!" if message.is_error else "<"
        output.line(f"{sign} {message.name}: {short(message.result)}")
        return
    text = message.content if isinstance(message.content, str) else short(_parts(message.content))
    if text:
        output.line(f"{message.role}: {text}")
    if isinstance(message, AssistantMessage):
        for call in message.tool_calls:
            output.line(call_line(call.name, call.arguments))


def _parts(parts: list[Any]) -> list[Any]:
    return [part.model_dump(mode="json") for part in parts]
