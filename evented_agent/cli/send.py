"""``runs send``: what people say to a run that is under way, or to a conversation."""

import getpass
import sys

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.output import printable, to_json
from evented_agent.cli.threads import find_thread
from evented_agent.client.runs import Runs
from evented_agent.client.sending import SendOptions
from evented_agent.errors import ThreadNotFound
from evented_agent.state.receipt import Receipt


@click.command("send")
@click.argument("words", nargs=-1, required=True, metavar="[RUN] TEXT")
@click.option("--thread", metavar="ID", help="To the run that has the turn there, without a RUN.")
@click.option("--resource", metavar="ID", help="Whose run, or conversation, it is.")
@click.option("--interrupt", is_flag=True, help="Cut short what the model says now.")
@click.option("--hold", is_flag=True, help="Wait with it while a person is asked.")
@click.option("--decline", is_flag=True, help="Decline the calls that wait for a person.")
@click.option("--message-id", metavar="ID", help="The same id and text is the same message.")
@click.option("--by", default=getpass.getuser, metavar="NAME", help="Shown to readers.")
@shared
def send_text(
    choices: Choices,
    *,
    words: tuple[str, ...],
    thread: str | None,
    resource: str | None,
    interrupt: bool,
    hold: bool,
    decline: bool,
    message_id: str | None,
    by: str,
) -> None:
    """Send TEXT to a run that is under way, or to a conversation with --thread.

    The run answers it with its next model call. One that has ended does not: the next run of its
    conversation begins with TEXT. TEXT may be - for stdin.
    """
    if len(words) != (2 if thread is None else 1):
        raise click.UsageError("Give a RUN and a TEXT in quotes, or --thread ID and a TEXT.")
    if hold and decline:
        raise click.UsageError("Give either --hold or --decline.")
    text = sys.stdin.read() if words[-1] == "-" else words[-1]
    options: SendOptions = {"by": by, "interrupt": interrupt, "hold": hold, "decline": decline}
    options |= {"message_id": message_id, "resource_id": resource}
    client, run_id = _target(choices, words, thread, resource)
    _show(choices, client.send(run_id, text, thread_id=thread, **options))


def _target(
    choices: Choices, words: tuple[str, ...], thread: str | None, resource: str | None
) -> tuple[Runs, str | None]:
    """Where the message goes: a run's place and id, or that of a conversation."""
    if thread is None:
        return choices.places.find(words[0])
    try:
        return find_thread(choices, thread, resource)[0], None
    except ThreadNotFound as error:
        begin = choices.again("run", "AGENT", "TEXT", "--thread", thread)
        hint = f"If it is somebody's, add --resource ID. To begin it: {begin}"
        raise click.ClickException(printable(f"{error} {hint}")) from None


def _show(choices: Choices, receipt: Receipt) -> None:
    """Say where the message went, and how to read what comes of it."""
    if choices.output.is_json:
        choices.output.record(to_json(receipt))
    after = ["--after", str(receipt.after)] if receipt.after else []
    how = choices.again("runs", "watch", receipt.run_id, *after)
    went = "begins" if receipt.begins_run else "waits for"
    choices.output.note(f"Message {receipt.message_id} {went} run {receipt.run_id}: {how}")
