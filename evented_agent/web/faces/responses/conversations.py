"""Conversations of OpenAI's clients: names of threads within a resource."""

import re
import secrets
import time

from evented_agent.state.thread_info import ThreadInfo
from evented_agent.web.access import somebody
from evented_agent.web.exchange import Exchange, PlainReply, object_reply
from evented_agent.web.faces.openai.errors import wrong_field
from evented_agent.web.faces.openai.fields import FieldReader, fields_of
from evented_agent.web.faces.responses.objects import Json
from evented_agent.web.failures import HttpFailure
from evented_agent.web.routes.look import resource_of
from evented_agent.web.site import Site, Verb, WebSteps

#: A name that was made here, with when that was.
_MADE = re.compile(r"conv_([0-9a-f]{8})[0-9a-f]{24}")


def post_conversation(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Make a name for a conversation; nothing is kept before something is said in it."""
    who = yield from somebody(exchange, "start")
    reader = FieldReader(site, who, fields_of(exchange))
    for name in ("items", "metadata"):
        if reader.take(name, (list, dict), "nothing"):
            raise wrong_field(name, "it is not kept; send it with the first response.")
    reader.options({})
    name = f"conv_{int(time.time()):08x}{secrets.token_hex(12)}"
    return object_reply(_conversation(name, int(time.time())))


def get_conversation(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """A conversation of one's own: one in which something was said, or whose name was made here."""
    name = exchange.path["id"]
    who = yield from somebody(exchange, "read", thread=name)
    info: ThreadInfo | None = yield Verb(
        "thread_info", (name,), {"resource_id": resource_of(exchange, who)}
    )
    if info is not None:
        return object_reply(_conversation(name, int(info.created_at.timestamp())))
    if (made := _MADE.fullmatch(name)) is not None:
        return object_reply(_conversation(name, int(made[1], 16)))
    raise HttpFailure(404, "conversation_not_found", "There is no such conversation.")


def delete_conversation_of(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Forget what was said in a conversation; its responses stay."""
    name = exchange.path["id"]
    who = yield from somebody(exchange, "delete", thread=name)
    yield Verb("delete_thread", (name,), {"resource_id": resource_of(exchange, who)})
    return object_reply({"id": name, "object": "conversation.deleted", "deleted": True})


def _conversation(name: str, created_at: int) -> Json:
    return {"id": name, "object": "conversation", "created_at": created_at, "metadata": {}}
