"""What somebody says to a run under way, or in a thread, from its page."""

from uuid import uuid4

from evented_agent.web.console.asked import form_of
from evented_agent.web.console.people import operated_run, operator
from evented_agent.web.exchange import Exchange, PlainReply
from evented_agent.web.routes.messages import SaidMessage, message_run, message_thread
from evented_agent.web.site import Site, WebSteps


def post_console_run_message(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Send a run a message; one that has ended is followed by the next of its thread."""
    said = _said(exchange)
    view, allowed = yield from operated_run(site, exchange, "act")
    receipt = yield from message_run(site, exchange, said)
    if receipt.begins_run:
        return view.sent_to(view.address("runs", receipt.run_id))
    action = view.address("runs", allowed.name, "messages")
    page = view.address("runs", allowed.name)
    return view.done(_sent(said), page, part="parts/say.html", action=action, is_run=True)


def post_console_thread_message(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Send a message to the run that has the turn in a thread, or begin its next run with it."""
    said = _said(exchange)
    thread = exchange.path["thread_id"]
    view = yield from operator(site, exchange, "act", thread=thread)
    receipt = yield from message_thread(site, exchange, said)
    whose = exchange.query("resource_id")
    page = view.address("threads", thread, resource_id=whose)
    if receipt.begins_run:
        return view.sent_to(page)
    action = view.address("threads", thread, "messages", resource_id=whose)
    return view.done(_sent(said), page, part="parts/say.html", action=action, is_run=False)


def _said(exchange: Exchange) -> SaidMessage:
    """The message of the form; sent again from the same page, it is the same."""
    form = form_of(exchange)
    flags = {"interrupt": True} if form.text("interrupt") else {}
    return SaidMessage(form.needed("message"), form.text("message_id") or uuid4().hex, flags)


def _sent(said: SaidMessage) -> str:
    how = "What the model is saying is cut short." if said.flags else "The next model call has it."
    return f"It is sent. {how}"
