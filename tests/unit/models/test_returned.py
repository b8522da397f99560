"""What a server said goes back to it unchanged, and to no other; the others get what they take."""

from collections.abc import Mapping
from typing import Any

import pytest

from evented_agent.execution.tasks.answer import AnswerBuilder
from evented_agent.models import (
    Message,
    Model,
    ModelRequest,
    OpenAIChat,
    OpenAIResponses,
    Profile,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from evented_agent.models.messages import dump_messages, load_messages
from evented_agent.models.openai.chat import chat_body
from evented_agent.models.openai.profiles import profile_of
from evented_agent.models.openai.responses import responses_body
from evented_agent.state.fold import assistant_message
from evented_agent.state.journal import dump_entry, load_entry
from tests.unit.models.peer import Peer, answer, ask

DONE = {"choices": [{"index": 0, "delta": {"content": "Yes"}, "finish_reason": "stop"}]}
COMPLETED = {"type": "response.completed", "response": {"status": "completed", "output": []}}
TOOL = ToolSpec("a", "Add.", {"type": "object", "properties": {}})


def spoken(model: Model, step: int = 1) -> list[Message]:
    """One turn of *model* with its results, as the journal and a thread give it back."""
    built = AnswerBuilder(step=step, attempt=1, used_call_ids=set())
    for event in ask(model):
        list(built.take(event))
    turn = load_entry(dump_entry(built.turn(model=model.name)))
    said = assistant_message(turn)  # type: ignore[arg-type]
    results = [ToolMessage(tool_call_id=c.id, name=c.name, result=1) for c in said.tool_calls]
    return load_messages(dump_messages([UserMessage(content="Hello"), said, *results]))


def chat(peer: Peer, model: str = "m", **fields: Any) -> OpenAIChat:
    if fields:
        finish = "tool_calls" if "tool_calls" in fields else "stop"
        peer.reply(answer({"choices": [{"delta": fields, "finish_reason": finish}]}, "[DONE]"))
    return OpenAIChat(model, base_url=peer.url)


def sent(peer: Peer, model: Model, messages: list[Message]) -> dict[str, Any]:
    """The assistant's message that *model* is asked with."""
    peer.reply(answer(DONE, "[DONE]"))
    ask(model, ModelRequest([*messages, UserMessage(content="And?")], tools=[TOOL]))
    asked = peer.asked[-1].body["messages"]
    return next(each for each in asked if each["role"] == "assistant")


CALL = {"index": 0, "id": "abcdefghi", "function": {"name": "a", "arguments": "{}"}}
SIGNED = {"google": {"thought_signature": "c2ln"}}
DETAIL = {"type": "reasoning.encrypted", "data": "AA", "index": 0, "format": "x"}


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"reasoning": "Hm.", "reasoning_details": [DETAIL]},
        {"reasoning_content": "Hm.", "reasoning_opaque": "AA"},
        {"extra_content": SIGNED},
    ],
)
def test_a_field_goes_back_under_its_name_to_its_origin_alone(
    peer: Peer, fields: dict[str, Any]
) -> None:
    messages = spoken(chat(peer, content="Well.", tool_calls=[CALL], **fields))
    returned = sent(peer, chat(peer), messages)
    assert {name: returned.get(name) for name in fields} == fields
    for other in (chat(peer, "n"), OpenAIChat("m", base_url=f"{peer.url}/x")):
        assert sent(peer, other, messages).keys() == {"role", "content", "tool_calls"}


def test_a_call_keeps_what_was_said_of_it(peer: Peer) -> None:
    signed = {**CALL, "extra_content": SIGNED}
    plain = {**CALL, "index": 1, "id": "ihgfedcba"}
    messages = spoken(chat(peer, tool_calls=[signed, plain]))
    first, second = sent(peer, chat(peer), messages)["tool_calls"]
    assert (first["extra_content"], "extra_content" in second) == (SIGNED, False)
    calls = sent(peer, chat(peer, "n"), messages)["tool_calls"]
    assert [call.keys() for call in calls] == [{"id", "type", "function"}] * 2


def test_an_id_that_is_no_plain_name_goes_back_as_it_was(peer: Peer) -> None:
    messages = spoken(chat(peer, tool_calls=[{**CALL, "id": "functions.a:0"}]))
    assert sent(peer, chat(peer), messages)["tool_calls"][0]["id"] == "functions.a:0"
    result = next(each for each in peer.asked[-1].body["messages"] if each["role"] == "tool")
    assert result["tool_call_id"] == "functions.a:0"


def test_thoughts_in_a_list_go_back_in_one_list(peer: Peer) -> None:
    def thinking(text: str) -> dict[str, Any]:
        return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}

    peer.reply(
        answer(
            {"choices": [{"delta": {"content": [thinking("H")]}}]},
            {"choices": [{"delta": {"content": [thinking("m.")]}}]},
            {"choices": [{"delta": {"content": [{"type": "text", "text": "Yes"}]}}]},
            {"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]},
            "[DONE]",
        )
    )
    messages = spoken(chat(peer))
    parts = [thinking("Hm."), {"type": "text", "text": "Yes"}]
    assert sent(peer, chat(peer), messages)["content"] == parts
    assert sent(peer, chat(peer, "n"), messages)["content"] == "Yes"


def test_details_that_come_in_pieces_are_put_together(peer: Peer) -> None:
    def details(*given: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [{"delta": {"reasoning_details": list(given)}}]}

    text = {"type": "reasoning.text", "index": 0}
    peer.reply(
        answer(
            details({**text, "text": "H", "signature": None}),
            details({**text, "text": "m."}),
            details({**text, "signature": "c2ln"}, DETAIL),
            DONE,
            "[DONE]",
        )
    )
    messages = spoken(chat(peer))
    assert sent(peer, chat(peer), messages)["reasoning_details"] == [
        {**text, "text": "Hm.", "signature": "c2ln"},
        DETAIL,
    ]


def test_what_is_kept_is_well_formed_though_it_came_in_halves(peer: Peer) -> None:
    halves = [
        f'{{"choices": [{{"delta": {{"reasoning_details": [{{"type": "reasoning.text", '
        f'"index": 0, "text": "{half}"}}], "finish_reason": "no", "thinking": true}}}}]}}'
        for half in ("\\ud83d", "\\ude00")
    ]
    peer.reply(answer(*halves, DONE, "[DONE]"))
    messages = spoken(chat(peer))
    assert sent(peer, chat(peer), messages) == {
        "role": "assistant",
        "content": "Yes",
        "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "😀"}],
    }


def test_a_profile_may_keep_reasoning_back(peer: Peer) -> None:
    messages = spoken(chat(peer, content="Well.", reasoning="Hm."))
    quiet = OpenAIChat("m", base_url=peer.url, profile=Profile(returns_reasoning=False))
    assert sent(peer, quiet, messages) == {"role": "assistant", "content": "Well."}


def body(host: str, model: str, messages: list[Message], **request: Any) -> Mapping[str, Any]:
    asked = ModelRequest(messages, **request)
    return chat_body(model, asked, profile_of(model, host), f"{model} at {host}")


def assistant(host: str, model: str, messages: list[Message]) -> dict[str, Any]:
    said = body(host, model, messages)["messages"]
    return next(each for each in said if each["role"] == "assistant")


@pytest.mark.parametrize(
    ("host", "model", "more"),
    [
        ("api.deepseek.com", "deepseek-reasoner", {"reasoning_content": " "}),
        ("api.moonshot.ai", "kimi-k2.5", {"reasoning_content": " "}),
        ("api.mistral.ai", "magistral-medium", {"content": ""}),
        ("api.openai.com", "gpt-5.5", {"content": None}),
    ],
)
def test_a_call_of_another_model_is_written_as_the_host_takes_it(
    peer: Peer, host: str, model: str, more: dict[str, Any]
) -> None:
    messages = spoken(chat(peer, reasoning="Hm.", tool_calls=[CALL]))
    written = assistant(host, model, messages)
    plain = {"role": "assistant", "content": None, **more}
    assert {name: value for name, value in written.items() if name != "tool_calls"} == plain


def test_gemini_is_told_that_a_signature_is_missing(peer: Peer) -> None:
    messages = spoken(chat(peer, tool_calls=[CALL, {**CALL, "index": 1, "id": "c2"}]))
    written = assistant("generativelanguage.googleapis.com", "gemini-3-pro", messages)
    first, second = written["tool_calls"]
    signature = first["extra_content"]["google"]["thought_signature"]
    assert signature == "skip_thought_signature_validator"
    assert "extra_content" not in second


# Responses


def said_items(peer: Peer, *items: dict[str, Any]) -> list[Message]:
    whole = {"status": "completed", "output": list(items)}
    peer.reply(answer({"type": "response.completed", "response": whole}))
    return spoken(OpenAIResponses("gpt-oss", base_url=peer.url))


def sent_items(peer: Peer, messages: list[Message], model: str = "gpt-oss") -> list[Any]:
    peer.reply(answer(COMPLETED))
    ask(OpenAIResponses(model, base_url=peer.url), ModelRequest(messages))
    return list(peer.asked[-1].body["input"][1:])


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": said}], **fields}


PLAIN = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
}


def test_reasoning_that_is_not_encrypted_goes_back_as_it_came(peer: Peer) -> None:
    messages = said_items(peer, PLAIN, text("Yes"))
    assert sent_items(peer, messages) == [
        PLAIN,
        {"role": "assistant", "content": "Yes"},
        # Asked for an answer, as servers want it that nobody knows.
        {"role": "user", "content": "Go on."},
    ]
    assert sent_items(peer, messages, "another")[0] == {"role": "assistant", "content": "Yes"}


def test_items_of_the_provider_go_back_in_their_places(peer: Peer) -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    call = {"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"}
    messages = said_items(peer, search, {**call, "namespace": "n", "status": "completed"})
    assert sent_items(peer, messages)[:2] == [search, {**call, "namespace": "n"}]
    assert sent_items(peer, messages, "another")[0] == call


def test_messages_with_phases_stay_messages_of_their_own(peer: Peer) -> None:
    messages = said_items(peer, text("Well.", phase="commentary"), text("Yes", phase="final"))
    assert sent_items(peer, messages)[:2] == [
        {"role": "assistant", "content": "Well.", "phase": "commentary"},
        {"role": "assistant", "content": "Yes", "phase": "final"},
    ]


def test_citations_go_back_with_their_text(peer: Peer) -> None:
    cited = {"type": "url_citation", "url": "https://x/1"}
    part = {"type": "output_text", "text": "Yes", "annotations": [cited]}
    messages = said_items(peer, {"type": "message", "content": [part]})
    [item, _] = sent_items(peer, messages)
    assert item == {"type": "message", "role": "assistant", "content": [part]}


def test_what_an_older_version_kept_is_returned() -> None:
    old = {
        "role": "assistant",
        "content": "Yes",
        "provider": {
            "openai": {
                "origin": "gpt-5.5 at api.openai.com",
                "items": [{**PLAIN, "encrypted_content": "AA"}, {"type": "message"}],
            }
        },
    }
    asked = ModelRequest(load_messages([old]))
    profile = profile_of("gpt-5.5", "api.openai.com")
    sent = responses_body("gpt-5.5", asked, profile, "gpt-5.5 at api.openai.com")["input"]
    assert [item.get("type") for item in sent] == ["reasoning", None]
