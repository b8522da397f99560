"""``runs pending | approve | decline | resume | retry``: what people decide about runs."""

import getpass
from typing import Any

import click

from evented_agent.agents.tools.approvals import Pending
from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.output import (
    ago,
    call_line,
    decided_line,
    json_value,
    short,
    to_json,
)
from evented_agent.client.commands import DecisionOptions, take_decision
from evented_agent.client.decisions import approval_data, denial_data
from evented_agent.client.runs import Runs


def _which(command: Any) -> Any:
    """The options that say which call is meant, and who decides."""
    command = click.option("--call", metavar="ID", help="Needed where several are pending.")(
        command
    )
    by = click.option("--by", default=getpass.getuser, metavar="NAME", help="Journalled.")
    return click.argument("run_id", metavar="RUN")(by(command))


@click.command("pending")
@click.option("--agent", metavar="ID")
@click.option("--thread", metavar="ID")
@click.option("--resource", metavar="ID")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@shared
def list_pending(
    choices: Choices, agent: str | None, thread: str | None, resource: str | None, limit: int
) -> None:
    """List the calls that wait for a person, the oldest first."""

    def look(client: Runs) -> list[Pending]:
        return client.pending(agent=agent, thread_id=thread, resource_id=resource, limit=limit)

    found = choices.places.merged(look, lambda pending: pending.since)
    if choices.output.is_json:
        for pending in found:
            choices.output.record(to_json(pending))
    elif found:
        headers = ("RUN", "AGENT", "CALL", "KIND", "SINCE", "")
        choices.output.table(headers, [_row(pending) for pending in found])
    else:
        choices.output.note("Nothing waits for a person.")


@click.command("approve")
@_which
@click.option(
    "--args", callback=json_value, metavar="JSON", help="Instead of the model's arguments."
)
@shared
def approve_call(
    choices: Choices, run_id: str, call: str | None, by: str, args: dict[str, Any] | None
) -> None:
    """Let a call run."""
    _decide(choices, run_id, approval_data(args), DecisionOptions(tool_call_id=call, by=by))


@click.command("decline")
@_which
@click.option("--reason", help="Shown to the model.")
@shared
def decline_call(
    choices: Choices, run_id: str, call: str | None, by: str, reason: str | None
) -> None:
    """Keep a call from running."""
    _decide(choices, run_id, denial_data(reason), DecisionOptions(tool_call_id=call, by=by))


@click.command("resume")
@_which
@click.argument("data", callback=json_value, metavar="JSON")
@shared
def resume_call(choices: Choices, run_id: str, call: str | None, by: str, data: Any) -> None:
    """Answer what a tool asks, or say what becomes of a call whose worker is gone."""
    _decide(choices, run_id, data, DecisionOptions(tool_call_id=call, by=by))


@click.command("retry")
@click.argument("run_id", metavar="RUN")
@shared
def retry_run(choices: Choices, run_id: str) -> None:
    """Let a failed run go on where it failed."""
    client, run_id = choices.places.find(run_id)
    client.retry(run_id)
    if choices.output.is_json:
        choices.output.record({"run_id": run_id, "is_retried": True})
    choices.output.note(f"Run {run_id} goes on.")


def _decide(choices: Choices, run_id: str, data: Any, which: DecisionOptions) -> None:
    """Decide, and say what stands; exits with 1 where that had been decided so before."""
    output = choices.output
    runs, run_id = choices.places.find(run_id)
    taken = runs.drive("resume", take_decision(runs, run_id, data, which))
    stands = taken.decision
    if output.is_json:
        output.record({"run_id": run_id, "is_new": taken.is_new, **(to_json(stands) or {})})
    if stands is None:
        output.warn(f"The call of run {run_id} was decided so already.")
    elif taken.is_new:
        output.note(f"Call {stands.tool_call_id} of run {run_id} is {stands.decision}.")
    else:
        output.warn(f"The call of run {run_id} {decided_line(stands)} already.")
    if not taken.is_new:
        raise click.exceptions.Exit(1)


def _row(pending: Pending) -> tuple[str, ...]:
    # All of it: nobody approves what was cut off.
    what = call_line(pending.tool_name, dict(pending.arguments), is_whole=True)
    if pending.payload is not None:
        what = f"{what}: {short(pending.payload)}"
    since = ago(pending.since)
    return (pending.run_id, pending.agent, pending.tool_call_id, pending.kind, since, what)


DECISIONS: tuple[click.Command, ...] = (
    *(list_pending, approve_call, decline_call, resume_call),
    retry_run,
)
