"""The clients of the AI SDK under Node: what each ends up with is the run's text, exactly."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from evented_agent import RunConflict, Runs
from tests.examples.model_server import Call, Failure, ModelServer, held
from tests.support.workers import wait_until
from tests.web.ai_sdk_site import SdkChat, UseChatSite, text_of
from tests.web.cutting_proxy import CuttingProxy

WORDS = [f"word {number}, " for number in range(60)]
Open = Callable[..., SdkChat]


@pytest.fixture
def open_chat(shop: UseChatSite) -> Iterator[Open]:
    """A chat with a client of that kind."""
    with ExitStack() as stack:

        def open_(kind: str) -> SdkChat:
            network = stack.enter_context(CuttingProxy(shop.port))
            chat = SdkChat(shop, network, kind, shop.cookie())
            stack.callback(chat.close)
            return chat

        yield open_


both = pytest.mark.parametrize("kind", ["default", "workflow"])


@both
def test_turns_of_a_conversation(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    model.answers(question, ["Let me see. ", Call("stock")], WORDS)
    chat = open_chat(kind)
    for turn in (1, 2):
        chat.send(f"{question} {turn}")
        chat.until_settled()
        assert chat.text == shop.result(chat.run_id).text
        assert chat.text.endswith("".join(WORDS))
    assert chat.state["status"] == "ready"
    assert [message["role"] for message in chat.state["messages"]] == ["user", "assistant"] * 2
    assert chat.state["posts"] == 2


@both
def test_a_killed_worker_costs_no_word(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["Half of ", gate, "it."])
    chat = open_chat(kind)
    with held(gate):
        chat.send(question)
        chat.until_text("Half of ")
        run_id = chat.run_id
        model.answers(question, ["All of it."])
        shop.kill_worker_of(run_id)
        chat.until_settled()
    assert chat.text == shop.result(run_id).text == "All of it."
    assert chat.run_id == run_id


@pytest.mark.parametrize("seed", range(3))
def test_a_chat_that_is_resumed_after_drops_has_every_word(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, seed: int
) -> None:
    model.answers(question, WORDS)
    chat = open_chat("default")
    dice = random.Random(seed)
    chat.network.cut_after(*(dice.randrange(300, 4000) for _ in range(3)))
    chat.send(question)
    for had in range(5):
        if chat.until_settled()["status"] == "ready":
            break
        chat.tell(resume={})
        chat.until(lambda state, had=had: state["gets"] > had, "it has asked again")  # type: ignore[misc]
    assert chat.text == shop.result(chat.run_id).text == "".join(WORDS)


@pytest.mark.parametrize("seed", range(3))
def test_the_workflow_transport_comes_back_by_itself(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, seed: int
) -> None:
    model.answers(question, WORDS)
    chat = open_chat("workflow")
    dice = random.Random(seed)
    chat.network.cut_after(*(dice.randrange(1200, 3000) for _ in range(2)))
    chat.send(question)
    chat.until_settled()
    assert chat.state["status"] == "ready"
    assert chat.text == shop.result(chat.run_id).text == "".join(WORDS)
    assert 1 <= chat.state["gets"] <= 4


@both
def test_calls_are_approved_and_declined(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    calls = [Call("refund", '{"order": "1"}'), Call("refund", '{"order": "2"}'), Call("stock")]
    model.answers(question, ["Let me see. ", *calls], ["Done."])
    chat = open_chat(kind)
    chat.send(question)
    chat.until_settled()
    one, two, _ = chat.calls
    chat.tell(approve={"id": one["approval"]["id"], "approved": True})
    chat.tell(approve={"id": two["approval"]["id"], "approved": False, "reason": "no"})
    chat.until_text("Done.")
    chat.until_settled()
    assert chat.text == shop.result(chat.run_id).text == "Let me see. \n\nDone."
    assert [call["state"] for call in chat.calls] == [
        "output-available",
        "output-denied",
        "output-available",
    ]
    assert chat.state["posts"] == 2


@both
def test_a_decision_that_somebody_else_makes_leaves_the_rest_to_the_chat(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    calls = [Call("refund", '{"order": "1"}'), Call("refund", '{"order": "2"}')]
    model.answers(question, calls, ["Done."])
    chat = open_chat(kind)
    chat.send(question)
    chat.until_settled()
    run_id = chat.run_id
    first = shop.runs.get(run_id).pending[0]
    shop.runs.approve(run_id, number=first.number)
    wait_until(lambda: len(shop.runs.get(run_id).pending) == 1, "the other call waits")
    for call in chat.calls:
        chat.tell(approve={"id": call["approval"]["id"], "approved": True})
    chat.until_text("Done.")
    chat.until_settled()
    assert [call["output"] for call in chat.calls] == ["1 is paid back", "2 is paid back"]
    assert chat.text == shop.result(run_id).text


@both
def test_a_tool_that_asks_is_answered(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    model.answers(question, [Call("delivery_address"), Call("refund")], ["On its way."])
    chat = open_chat(kind)
    chat.send(question)
    chat.until_settled()
    [asked], [_, refund] = chat.parts("data-suspended"), chat.calls
    assert asked["data"]["payload"] == {"question": "Where shall we send it?"}
    named = {"tool": "delivery_address", "toolCallId": asked["data"]["toolCallId"]}
    chat.tell(output={**named, "output": "Tea Lane 4"})
    chat.tell(approve={"id": refund["approval"]["id"], "approved": True})
    chat.until_text("On its way.")
    chat.until_settled()
    assert chat.calls[0]["output"] == "The address is Tea Lane 4."
    assert chat.state["posts"] == 2
    assert chat.text == shop.result(chat.run_id).text


@both
def test_a_message_is_answered_while_a_decision_is_awaited(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    model.answers(question, ["Let me see. ", Call("refund", '{"order": "17"}')])
    model.answers(question, ["Assam."], told="Which tea?")
    model.answers(question, ["It is done."], told="17 is paid back")
    chat = open_chat(kind)
    chat.send(question)
    chat.until_settled()
    run_id, [call] = chat.run_id, chat.calls
    chat.send("Which tea?")
    chat.until_text("Assam.")
    chat.until_settled()
    chat.tell(approve={"id": call["approval"]["id"], "approved": True})
    chat.tell(post={"messageId": run_id})
    chat.until(lambda state: "It is done." in text_of(state["messages"][1]), "it goes on there")
    chat.until_settled()
    _, asks, _, answer = chat.state["messages"]
    assert text_of(asks) == "Let me see. \n\nIt is done."
    assert [part["output"] for part in asks["parts"] if part["type"] == "dynamic-tool"] == [
        "17 is paid back"
    ]
    assert (answer["metadata"], text_of(answer)) == ({"runId": run_id}, "Assam.")
    assert chat.state["posts"] == 3
    assert shop.result(run_id).text == "Let me see. \n\nAssam.\n\nIt is done."


@both
@pytest.mark.parametrize("is_killed", [False, True])
def test_the_clients_steer_a_run_that_speaks(
    shop: UseChatSite,
    model: ModelServer,
    open_chat: Open,
    question: str,
    kind: str,
    is_killed: bool,
) -> None:
    """Both replies are read at once; also over a worker that dies between message and answer."""
    gate = threading.Event()
    model.answers(question, ["Half of ", gate, "it."])
    model.answers(question, WORDS, told="Which tea?")
    chat = open_chat(kind)
    with held(gate):
        chat.send(question)
        chat.until_text("Half of ")
        run_id = chat.run_id
        chat.tell(send={"text": "Which tea?", "body": {"when_busy": "steer"}})
        wait_until(lambda: shop.runs.get(run_id).inbox, "the run has the message")
        if is_killed:
            shop.kill_worker_of(run_id)
        else:
            gate.set()
        chat.until(lambda state: len(state["messages"]) == 4, "it is answered")
        chat.until_text("".join(WORDS))
        chat.until_settled()
    _, first, _, second = chat.state["messages"]
    # What was withdrawn is not said again by itself: the next attempt answers both.
    assert text_of(first) == ("" if is_killed else "Half of it.")
    pieces = filter(None, [text_of(first), text_of(second)])
    assert shop.result(run_id).text == "\n\n".join(pieces)
    assert chat.state["posts"] == 2


@both
def test_a_failed_run_is_an_error_of_the_chat(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    model.answers(question, ["Half of it", Failure("not like this")])
    chat = open_chat(kind)
    chat.send(question)
    chat.until_settled()
    assert shop.ended(chat.run_id).status == "failed"
    assert chat.state["status"] == "error"
    assert "not like this" in chat.state["error"]
    assert chat.state["posts"] == 1


def test_a_run_that_is_retried_is_whole_in_a_chat_that_is_resumed(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str
) -> None:
    model.answers(question, ["Half of it", Failure("not like this")])
    chat = open_chat("default")
    chat.send(question)
    chat.until_settled()
    model.answers(question, ["All of it."])
    wait_until(lambda: retried(shop.runs, chat.run_id), "the failed run has told its thread")
    shop.ended(chat.run_id)
    chat.tell(resume={})
    chat.until_text("All of it.")
    assert chat.until_settled()["status"] == "ready"
    assert chat.text == shop.result(chat.run_id).text == "All of it."


def retried(runs: Runs, run_id: str) -> bool:
    """Retry a run, unless it is still about to follow its failure."""
    try:
        runs.retry(run_id)
    except RunConflict:
        return False
    return True


@both
def test_a_run_that_is_stopped_ends_the_chats_answer(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["On and ", gate, "on."])
    chat = open_chat(kind)
    with held(gate):
        chat.send(question)
        chat.until_text("On and ")
        shop.runs.abort(chat.run_id)
        chat.until_settled()
    assert chat.state["status"] == "ready"
    assert chat.text == shop.runs.result(chat.run_id).text == "On and "


@both
def test_a_chat_never_posts_by_itself_behind_the_end(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str, kind: str
) -> None:
    """A model that has nothing to say behind its calls; `sendAutomaticallyWhen` would go on."""
    model.answers(question, [Call("stock")], [])
    chat = open_chat(kind)
    chat.send(question)
    chat.until_settled()
    assert chat.calls[0]["state"] == "output-available"
    # By the time this is answered, a message that is posted by itself would have been as well.
    model.answers(question, ["Yes."])
    chat.send(question)
    chat.until_text("Yes.")
    chat.until_settled()
    assert chat.state["posts"] == 2
    assert len(chat.state["messages"]) == 4


def test_a_stream_of_messages_is_read_without_a_chat(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str
) -> None:
    model.answers(question, ["Let me see. ", Call("stock")], WORDS)
    chat = open_chat("default")
    chat.tell(read={"text": question})
    found = chat.until(lambda state: "read" in state, "it is read")["read"]
    assert text_of(found) == shop.result(found["id"]).text


def test_an_answer_is_given_again(
    shop: UseChatSite, model: ModelServer, open_chat: Open, question: str
) -> None:
    model.answers(question, ["First."])
    chat = open_chat("default")
    chat.send(question)
    chat.until_settled()
    first = chat.run_id
    model.answers(question, ["Second."])
    chat.tell(regenerate={})
    chat.until_text("Second.")
    chat.until_settled()
    assert chat.run_id != first
    assert [message["role"] for message in chat.state["messages"]] == ["user", "assistant"]
