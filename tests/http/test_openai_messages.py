"""Messages to responses that go on, or wait: by OpenAI's own client."""

from collections.abc import Iterator
from uuid import uuid4

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from evented_agent import InProcessAgent
from tests.http.agents import GATES
from tests.http.conftest import Served
from tests.http.openai_client import client_of
from tests.http.requests import call
from tests.support.workers import wait_until


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[OpenAI]:
    with client_of(served) as client:
        yield client


@pytest.fixture
def gate() -> str:
    return uuid4().hex[:8]


@pytest.fixture
def conversation() -> str:
    return f"chat {uuid4().hex}"


def run_of(response: Response) -> str:
    return response.id.partition(":")[0]


def speaking(client: OpenAI, gate: str, conversation: str) -> Response:
    """A response whose first words are said."""
    response = client.responses.create(
        model="talker", input=f"speak {gate}", conversation=conversation, background=True
    )
    has_begun = lambda: client.responses.retrieve(response.id).output_text  # noqa: E731
    wait_until(has_begun, "it speaks")
    return response


def test_a_conversation_goes_on_while_a_decision_is_awaited(
    client: OpenAI, durable: InProcessAgent
) -> None:
    asked = client.responses.create(model="talker", input=call("erase", name="a"))
    [request] = [item for item in asked.output if item.type == "mcp_approval_request"]

    answer = client.responses.create(
        model="talker", input="say Meanwhile.", previous_response_id=asked.id
    )
    assert (answer.status, answer.output_text) == ("completed", "Meanwhile.")
    assert run_of(answer) == asked.id
    assert answer.previous_response_id == asked.id
    assert client.responses.retrieve(answer.id) == answer
    [given] = client.responses.input_items.list(answer.id)
    assert given.type == "message"
    assert client.responses.retrieve(asked.id) == asked

    decision = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}
    news = client.responses.create(previous_response_id=answer.id, input=[decision])  # type: ignore[list-item]
    assert (news.status, news.output_text) == ("completed", "erased a")
    assert news.previous_response_id == answer.id
    assert durable.result(asked.id).text == "Meanwhile.\n\nerased a"


def test_a_conversation_goes_on_during_a_background_report(
    client: OpenAI, gate: str, conversation: str
) -> None:
    first = client.responses.create(
        model="talker",
        input=call("report", name=gate),
        conversation=conversation,
        background=True,
        extra_body={"until_idle": True},
    )
    wait_until(lambda: client.responses.retrieve(first.id).output_text, "it has answered")
    events = client.responses.create(
        model="talker", input="say Meanwhile.", conversation=conversation, stream=True
    )
    said = ""
    for event in events:
        said += event.delta if event.type == "response.output_text.delta" else ""
        if said == "Meanwhile.":
            GATES[gate].set()
    assert event.type == "response.completed"
    answer = event.response
    assert run_of(answer) == first.id
    assert answer.output_text == f"Meanwhile.report {gate}"
    assert client.responses.retrieve(first.id).status == "completed"


def test_a_response_that_goes_on_is_steered(
    client: OpenAI, gate: str, conversation: str, durable: InProcessAgent
) -> None:
    first = speaking(client, gate, conversation)
    second = client.responses.create(
        model="talker",
        input="say And this.",
        conversation=conversation,
        background=True,
        extra_body={"when_busy": "steer"},
    )
    assert second.status == "queued"
    assert client.responses.retrieve(second.id).status == "queued"
    GATES[gate].set()
    wait_until(lambda: client.responses.retrieve(second.id).status == "completed", "it is answered")
    texts = [client.responses.retrieve(each.id).output_text for each in (first, second)]
    assert texts == [f"{gate} is said.", "And this."]
    assert durable.result(first.id).text == "\n\n".join(texts)
    followed = list(client.responses.retrieve(second.id, stream=True))
    for at, event in enumerate(followed):
        rest = client.responses.retrieve(second.id, stream=True, starting_after=at)
        assert list(rest) == followed[at + 1 :]
        assert event.sequence_number == at


def test_a_response_that_is_interrupted_is_incomplete(
    client: OpenAI, gate: str, conversation: str
) -> None:
    first = speaking(client, gate, conversation)
    second = client.responses.create(
        model="talker",
        input="say Stop.",
        conversation=conversation,
        extra_body={"interrupt": True},
    )
    cut = client.responses.retrieve(first.id)
    assert (cut.status, cut.output_text) == ("incomplete", f"{gate} ")
    assert cut.to_dict()["incomplete_details"] == {"reason": "interrupted"}
    assert (second.status, second.output_text) == ("completed", "Stop.")


def test_the_same_message_again_is_answered_by_the_same_response(
    client: OpenAI, gate: str, conversation: str
) -> None:
    speaking(client, gate, conversation)
    sent = [
        client.responses.create(
            model="talker",
            input="say Once.",
            conversation=conversation,
            background=True,
            extra_body={how: value},
            extra_headers={"Idempotency-Key": f"{how} {gate}"},
        )
        for how, value in (("when_busy", "steer"), ("interrupt", True))
        for _ in range(2)
    ]
    assert sent[0].id == sent[1].id != sent[2].id == sent[3].id
    GATES[gate].set()


def test_a_message_that_waits_is_cancelled_with_its_run(
    client: OpenAI, gate: str, conversation: str
) -> None:
    first = speaking(client, gate, conversation)
    second = client.responses.create(
        model="talker",
        input="say Never.",
        conversation=conversation,
        background=True,
        extra_body={"when_busy": "steer"},
    )
    assert client.responses.cancel(second.id).status == "cancelled"
    assert client.responses.retrieve(first.id).status == "cancelled"
    assert client.responses.retrieve(second.id).output == []


def test_interrupt_is_a_flag(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="interrupt"):
        client.responses.create(model="talker", input="say X.", extra_body={"interrupt": "yes"})
