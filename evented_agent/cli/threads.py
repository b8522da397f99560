"""``threads``, ``threads show | rename | rm``: conversations, with no agent code needed."""

from datetime import datetime

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.output import ago, call_line, printable, runs_cost_line, short, to_json
from evented_agent.cli.runs import since_of
from evented_agent.client.conversations import page_after
from evented_agent.client.listing import RunFilter, cost_of_runs
from evented_agent.client.runs import Runs
from evented_agent.errors import ThreadNotFound
from evented_agent.models.cost import RunsCost
from evented_agent.models.messages import (
    AssistantMessage,
    Message,
    ToolMessage,
    dump_messages,
    text_in,
)
from evented_agent.state.thread_info import ThreadInfo

_HEADERS = ("THREAD", "RESOURCE", "RUNS", "MESSAGES", "USED", "TURN", "")
#: Runs whose cost is added up.
_MOST_PRICED = 200
_whose = click.option("--resource", metavar="ID", help="Whose conversation it is.")


@click.group("threads", invoke_without_command=True)
@click.option("--resource", metavar="ID", help="Those of a resource alone.")
@click.option("--since", callback=since_of, metavar="SPAN", help="1h, 7d, or an ISO time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--page", metavar="PAGE", help="What the page before named as the next.")
@click.pass_context
@shared
def threads(
    choices: Choices,
    ctx: click.Context,
    resource: str | None,
    since: datetime | None,
    limit: int,
    page: str | None,
) -> None:
    """List conversations, those in use last first; see, name and forget them."""
    if ctx.invoked_subcommand is not None:
        return
    output = choices.output
    pages = [
        place.threads(resource_id=resource, since=since, limit=limit, page=page)
        for place in choices.places.all
    ]
    all_found = [info for each in pages for info in each]
    found = sorted(all_found, key=lambda info: info.updated_at, reverse=True)[:limit]
    if output.is_json:
        for info in found:
            output.record(to_json(info))
    elif found:
        output.table(_HEADERS, [_row(info) for info in found])
    else:
        output.note(f"No such threads at {choices.places.description}.")
    if any(each.next_page for each in pages) or len(all_found) > limit:
        output.note(f"There are more: --page {page_after(found[-1])}")


@threads.command("show")
@click.argument("thread_id", metavar="THREAD")
@_whose
@shared
def show_thread(choices: Choices, thread_id: str, resource: str | None) -> None:
    """Show what was said in a conversation."""
    output = choices.output
    client, info = find_thread(choices, thread_id, resource)
    messages = client.thread(thread_id, resource_id=resource)
    if output.is_json:
        output.record(to_json(info) | {"said": dump_messages(messages)})
        return
    turn = info.turn and f"{info.turn.run_id} ({info.turn.status})"
    output.pairs(
        [
            ("thread", printable(info.thread_id)),
            ("resource", info.resource_id and printable(info.resource_id)),
            ("title", info.title and printable(info.title)),
            ("runs", info.runs),
            ("messages", info.messages),
            ("first seen", ago(info.created_at)),
            ("used", ago(info.updated_at)),
            ("turn", turn),
            ("cost", runs_cost_line(_cost(client, info))),
        ]
    )
    output.line()
    for message in messages:
        for line in _lines(message):
            output.line(line)


@threads.command("rename")
@click.argument("thread_id", metavar="THREAD")
@click.argument("title")
@_whose
@shared
def rename_one(choices: Choices, thread_id: str, title: str, resource: str | None) -> None:
    """Call a conversation TITLE; "" takes its title away."""
    client, _ = find_thread(choices, thread_id, resource)
    client.set_thread_title(thread_id, title or None, resource_id=resource)
    if choices.output.is_json:
        choices.output.record({"thread_id": thread_id, "title": title or None})
    choices.output.note(f"Thread {thread_id} is called {title!r}.")


@threads.command("rm")
@click.argument("thread_id", metavar="THREAD")
@_whose
@shared
def forget_one(choices: Choices, thread_id: str, resource: str | None) -> None:
    """Forget a conversation; its runs stay."""
    client, _ = find_thread(choices, thread_id, resource)
    client.delete_thread(thread_id, resource_id=resource)
    if choices.output.is_json:
        choices.output.record({"thread_id": thread_id, "is_deleted": True})
    choices.output.note(f"Thread {thread_id} is forgotten.")


def find_thread(choices: Choices, thread_id: str, resource: str | None) -> tuple[Runs, ThreadInfo]:
    """The first place that has the conversation.  Raises `ThreadNotFound`."""
    for place in choices.places.all:
        info = place.thread_info(thread_id, resource_id=resource)
        if info is not None:
            return place, info
    raise ThreadNotFound(thread_id, resource)


def _cost(client: Runs, info: ThreadInfo) -> RunsCost:
    """What its newest runs cost; of nobody's, not those of the same name that somebody has."""
    whose, is_nobodys = info.resource_id, info.resource_id is None
    wanted = RunFilter(thread_id=info.thread_id, resource_id=whose, is_nobodys=is_nobodys)
    return client.drive("cost", cost_of_runs(client, wanted, limit=_MOST_PRICED))


def _row(info: ThreadInfo) -> tuple[str, ...]:
    return (
        info.thread_id,
        info.resource_id or "",
        str(info.runs),
        str(info.messages),
        ago(info.updated_at),
        "" if info.turn is None else info.turn.status,
        short(info.title or info.last_message),
    )


def _lines(message: Message) -> list[str]:
    """A message as people read it: who said what, the calls, and what they came to."""
    if isinstance(message, ToolMessage):
        return [f"  {'!' if message.is_error else '<'} {message.name}: {short(message.result)}"]
    [dumped] = dump_messages([message])
    lines = printable(f"{message.role}: {text_in(dumped)}").splitlines()
    if isinstance(message, AssistantMessage):
        lines += [f"  {call_line(call.name, call.arguments)}" for call in message.tool_calls]
    return lines
