"""Conversations: lists of them, what was said in one, what it is called; and forgetting one."""

from evented_agent.state.thread_info import ThreadInfo
from evented_agent.state.wire import MESSAGES, THREAD_INFO, THREAD_INFOS
from evented_agent.web.access import somebody
from evented_agent.web.exchange import Exchange, PlainReply, bad_request, object_reply
from evented_agent.web.routes.look import MOST_LISTED, resource_of
from evented_agent.web.site import Site, Verb, WebSteps


def get_threads(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The conversations that were in use last, page by page."""
    who = yield from somebody(exchange, "list")
    options = {
        "resource_id": resource_of(exchange, who),
        "since": exchange.time("since"),
        "limit": exchange.count("limit", 50, MOST_LISTED),
        "page": exchange.query("page"),
    }
    page = yield Verb("threads", (), options)
    found = THREAD_INFOS.dump_python(list(page), mode="json")
    return object_reply({"threads": found, "next_page": page.next_page})


def get_thread(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """What was said in a conversation, and what lists show of it."""
    thread, is_brief = exchange.path["thread_id"], exchange.flag("without_messages")
    who = yield from somebody(exchange, "read", thread=thread)
    whose = {"resource_id": resource_of(exchange, who)}
    messages = [] if is_brief else (yield Verb("thread", (thread,), whose))
    info: ThreadInfo | None = yield Verb("thread_info", (thread,), whose)
    shown = {} if info is None else {"thread": THREAD_INFO.dump_python(info, mode="json")}
    return object_reply({"messages": MESSAGES.dump_python(messages, mode="json"), **shown})


def patch_thread(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Call a conversation something; null takes its title away."""
    body = exchange.json("title")
    if "title" not in body:
        raise bad_request("title is missing: a text, or null for none.")
    thread = exchange.path["thread_id"]
    who = yield from somebody(exchange, "act", thread=thread)
    whose = {"resource_id": resource_of(exchange, who)}
    yield Verb("set_thread_title", (thread, body["title"]), whose)
    return PlainReply(204)


def remove_thread(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Forget a conversation; its runs stay."""
    thread = exchange.path["thread_id"]
    who = yield from somebody(exchange, "delete", thread=thread)
    yield Verb("delete_thread", (thread,), {"resource_id": resource_of(exchange, who)})
    return PlainReply(204)
