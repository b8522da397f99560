"""Conversations are repaired when a request is built; the journal stays as it is."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.errors import HistoryRefused, ModelError
from evented_agent.models import (
    AssistantMessage,
    ImagePart,
    Message,
    ModelRequest,
    OpenAIChat,
    OpenAIResponses,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from evented_agent.models.history import (
    GO_ON,
    NO_ANSWER,
    UNKNOWN_RESULT,
    CallIds,
    alternated,
    paired,
    system_first,
    without_empty,
)
from evented_agent.models.openai.chat import chat_body
from evented_agent.models.openai.profiles import Profile, profile_of
from evented_agent.models.openai.responses import responses_body
from tests.support.strict_server import check_template
from tests.unit.models.peer import Peer, answer, ask, failure, refusal


def user(text: str = "Hi") -> UserMessage:
    return UserMessage(content=text)


def said(text: str = "", *ids: str) -> AssistantMessage:
    return AssistantMessage(content=text, tool_calls=[ToolCall(id=id_, name="a") for id_ in ids])


def result(id_: str, value: Any = 1) -> ToolMessage:
    return ToolMessage(tool_call_id=id_, name="a", result=value)


def unknown(id_: str) -> ToolMessage:
    return ToolMessage(tool_call_id=id_, name="a", result=UNKNOWN_RESULT, is_error=True)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            [user(), said("", "c1", "c2"), result("c2")],
            [user(), said("", "c1", "c2"), unknown("c1"), result("c2")],
        ),
        ([user(), result("c1")], [user(), user("(The tool a gave: 1)")]),
        (
            [said("", "c1"), user("And?"), result("c1")],
            [said("", "c1"), result("c1"), user("And?")],
        ),
        # The same id in two runs.
        (
            [said("", "c1"), result("c1", 1), said("", "c1"), result("c1", 2)],
            [said("", "c1"), result("c1", 1), said("", "c1"), result("c1", 2)],
        ),
        (
            [said("", "c1"), said("", "c1"), result("c1")],
            [said("", "c1"), unknown("c1"), said("", "c1"), result("c1")],
        ),
        ([said("", "c1"), result("c1", 1), result("c1", 2)], [said("", "c1"), result("c1", 1)]),
    ],
)
def test_calls_and_results_are_paired_in_both_directions(
    given: list[Message], made: list[Message]
) -> None:
    assert paired(given) == made


def test_roles_take_turns() -> None:
    image = ImagePart(url="https://x/1.png")
    assert alternated(
        [
            said("Hello."),
            user("One."),
            UserMessage(content=[image]),
            said("Well."),
            said("", "c1"),
            result("c1"),
            user("Two."),
            said("Yes."),
        ]
    ) == [
        user(GO_ON),
        said("Hello."),
        UserMessage(content=[TextPart(text="One."), image]),
        said("Well.", "c1"),
        result("c1"),
        said(NO_ANSWER),
        user("Two."),
        said("Yes."),
        user(GO_ON),
    ]


def test_what_says_nothing_is_left_out_and_later_instructions_are_the_user_s() -> None:
    system = SystemMessage(content="News.")
    messages: list[Message] = [system, user(), said(" "), user("More."), system]
    assert system_first(without_empty(messages)) == [system, user(), user("More."), user("News.")]


IDS = st.sampled_from(["c1", "c2", "c3", ""])
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(user, st.sampled_from(["Hi", "And?"])),
    st.builds(lambda text: SystemMessage(content=text), st.just("News.")),
    st.lists(IDS, max_size=3).flatmap(
        lambda ids: st.builds(lambda text: said(text, *ids), st.sampled_from(["", " ", "Yes"]))
    ),
    st.builds(result, IDS),
)


@given(st.lists(MESSAGES, max_size=8))
def test_any_conversation_is_one_that_the_strictest_template_takes(messages: list[Message]) -> None:
    request = ModelRequest([*messages, user("At last.")], instructions="Be brief.")
    for profile in (Profile(), profile_of("mistral-large", "api.mistral.ai")):
        check_template(chat_body("m", request, profile))


@given(st.lists(MESSAGES, max_size=8))
def test_in_any_conversation_calls_and_results_of_responses_fit(messages: list[Message]) -> None:
    items = responses_body("m", ModelRequest(messages), Profile(), "")["input"]
    called = [each["call_id"] for each in items if each.get("type") == "function_call"]
    answered = [each["call_id"] for each in items if each.get("type") == "function_call_output"]
    assert sorted(called) == sorted(answered)
    assert len({*called}) == len(called)
    assert "" not in called


def test_ids_are_stable_and_unique() -> None:
    def named() -> list[str]:
        ids = CallIds(re.compile("[a-z0-9]{9}"))
        return [ids.name(each) for each in ("abcdefghi", "c1", "c1", "abcdefghi", "")]

    assert named() == named()
    assert named()[0] == "abcdefghi"
    assert len({*named()}) == 5


def test_images_of_results_follow_them_where_results_are_text() -> None:
    picture = {"type": "image", "url": "data:image/png;base64,AA=="}
    messages: list[Message] = [
        user(),
        said("", "aaaaaaaaa", "bbbbbbbbb"),
        result("aaaaaaaaa", ["Look:", picture]),
        result("bbbbbbbbb"),
    ]
    asked = chat_body("m", ModelRequest(messages), profile_of("m", "api.openai.com"))["messages"]
    assert [each["role"] for each in asked] == ["user", "assistant", "tool", "tool", "user"]
    assert asked[2]["content"] == "Look:\n(an image)"
    assert asked[4]["content"] == [
        {"type": "text", "text": "What the tool a returned:"},
        {"type": "image_url", "image_url": {"url": picture["url"]}},
    ]
    items = responses_body("m", ModelRequest(messages), profile_of("m", "api.openai.com"), "")
    [first, _] = [each for each in items["input"] if each.get("type") == "function_call_output"]
    assert first["output"] == [
        {"type": "input_text", "text": "Look:\n(an image)"},
        {"type": "input_image", "image_url": picture["url"], "detail": "auto"},
    ]
    blind = chat_body("m", ModelRequest(messages), Profile(images=False))["messages"]
    assert [each["role"] for each in blind] == ["user", "assistant", "tool", "tool"]


ROLES = {"error": {"message": "Conversation roles must alternate: messages[1]"}}
LENIENT = Profile(alternates=False, system_first=False, call_ids="any")


def test_a_refused_conversation_is_sent_once_more_in_a_stricter_form(peer: Peer) -> None:
    peer.reply(refusal(400, ROLES))
    peer.reply(answer({"choices": [{"delta": {"content": "Y"}, "finish_reason": "stop"}]}))
    model = OpenAIChat("m", base_url=peer.url, profile=LENIENT)
    ask(model, ModelRequest([user("One."), user("Two.")]))
    first, second = (each.body["messages"] for each in peer.asked)
    assert [each["content"] for each in first] == ["One.", "Two."]
    assert [each["content"] for each in second] == ["One.\n\nTwo."]


def test_a_conversation_that_is_refused_twice_is_an_error_that_names_the_message(
    peer: Peer,
) -> None:
    for _ in range(2):
        peer.reply(refusal(400, ROLES))
    model = OpenAIChat("m", base_url=peer.url, profile=LENIENT)
    error = failure(model, ModelRequest([user("One."), user("Two.")]))
    assert isinstance(error, HistoryRefused)
    assert (error.message_index, error.retryable, error.status) == (1, False, 400)
    assert "It names messages[1] of the request." in str(error)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (
            "Missing `reasoning_content` field in the assistant message at index 1",
            "reasoning_content",
        ),
        ("Function call is missing a thought_signature in functionCall parts", "signature"),
    ],
)
def test_a_field_that_is_missing_is_added(peer: Peer, words: str, field: str) -> None:
    peer.reply(refusal(400, {"error": {"message": words}}))
    peer.reply(answer({"choices": [{"delta": {"content": "Y"}, "finish_reason": "stop"}]}))
    request = ModelRequest([user(), said("", "abcdefghi"), result("abcdefghi")])
    ask(OpenAIChat("m", base_url=peer.url), request)
    assert field in str(peer.asked[1].body["messages"][1])


@pytest.mark.parametrize("api", [OpenAIChat, OpenAIResponses])
@pytest.mark.parametrize(
    "words", ["Thinking mode does not support this tool_choice", "temperature is too high"]
)
def test_what_is_not_about_the_conversation_is_asked_once(
    peer: Peer, api: type[OpenAIChat] | type[OpenAIResponses], words: str
) -> None:
    peer.reply(refusal(400, {"error": {"message": words}}))
    assert type(failure(api("m", base_url=peer.url))) is ModelError
    assert len(peer.asked) == 1


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("body.stream_options: Extra inputs are not permitted", "stream_options"),
        ("Unknown parameter: tools[0].function.strict", "strict"),
    ],
)
def test_what_a_server_refuses_by_name_is_left_out(peer: Peer, words: str, field: str) -> None:
    peer.reply(refusal(422, {"error": {"message": words}}))
    peer.reply(answer({"choices": [{"delta": {"content": "Y"}, "finish_reason": "stop"}]}))
    tool = ToolSpec("a", "Add.", {"type": "object"})
    model = OpenAIChat("m", base_url=peer.url, profile=Profile(strict="always"))
    ask(model, ModelRequest([user()], tools=[tool]))
    first, second = (str(each.body) for each in peer.asked)
    assert (field in first, field in second) == (True, False)


def test_encrypted_reasoning_that_a_deployment_lacks_is_left_out(peer: Peer) -> None:
    told = "Invalid value for include: encrypted content is not supported with this model"
    for _ in range(2):
        peer.reply(refusal(400, {"error": {"message": told}}))
    error = failure(OpenAIResponses("gpt-5-mine", base_url=peer.url))
    assert ["include" in each.body for each in peer.asked] == [True, False]
    assert type(error) is ModelError
    assert str(error).endswith(told)
