"""Refusals in every shape: the provider's own words, and what kind of refusal it is."""

from typing import Any

import pytest

from evented_agent.errors import (
    AuthenticationFailed,
    ContentFiltered,
    ContextTooLong,
    ModelError,
    QuotaExceeded,
    RateLimited,
)
from evented_agent.models import OpenAIChat
from tests.unit.models.peer import Peer, answer, failure, refusal


def words(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (401, words("No such key."), AuthenticationFailed, False),
        (400, words("Incorrect API key provided."), AuthenticationFailed, False),
        (403, words("Not your model."), AuthenticationFailed, False),
        (403, words("Content violates usage guidelines."), ContentFiltered, False),
        (400, words("Filtered.", code="content_filter"), ContentFiltered, False),
        (400, words("Too long.", code="context_length_exceeded"), ContextTooLong, False),
        (413, words("This model's maximum context length is 8192 tokens"), ContextTooLong, False),
        (400, words("prompt too long; exceeded max context length"), ContextTooLong, False),
        (402, words("Insufficient Balance"), QuotaExceeded, False),
        (429, words("No more.", code="insufficient_quota"), QuotaExceeded, False),
        (429, words("You exceeded your current quota"), QuotaExceeded, False),
        (429, words("Slow down."), RateLimited, True),
        (500, words("Oh."), ModelError, True),
        (404, words("No such model."), ModelError, False),
    ],
)
def test_a_refusal_is_of_its_kind(
    peer: Peer, status: int, body: Any, kind: type[ModelError], retryable: bool
) -> None:
    peer.reply(refusal(status, body))
    error = failure(OpenAIChat("m", base_url=peer.url))
    assert type(error) is kind
    assert (error.retryable, error.status) == (retryable, status)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([{"error": {"message": "Bad.", "status": "INVALID_ARGUMENT"}}], "INVALID_ARGUMENT: Bad."),
        (
            words("Provider returned error", metadata={"raw": '{"error": {"message": "Bad."}}'}),
            "Provider returned error: Bad.",
        ),
        (
            words("Provider returned error", metadata={"raw": "Bad, in words."}),
            "Provider returned error: Bad, in words.",
        ),
        (words("", metadata={"raw": '"Bad."'}), "Bad."),
        (words("", metadata={"raw": {"detail": "Bad."}}), "Bad."),
        (words("Hm.", metadata={"raw": "<html>"}), "Hm."),
        (
            {"message": {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs"}]}},
            "['body', 'x'] Extra inputs",
        ),
        ({"code": "1", "error": "Bad."}, "Bad."),
    ],
)
def test_the_provider_s_own_words_are_told(peer: Peer, body: Any, said: str) -> None:
    peer.reply(refusal(400, body))
    assert str(failure(OpenAIChat("m", base_url=peer.url))).endswith(said)


def test_an_error_in_place_of_a_stream_is_told(peer: Peer) -> None:
    peer.reply(refusal(200, words("The response was filtered.", code="content_filter")))
    error = failure(OpenAIChat("m", base_url=peer.url))
    assert isinstance(error, ContentFiltered)
    assert str(error).endswith("reported content_filter: The response was filtered.")


def test_an_object_in_place_of_a_stream_points_at_the_base_url(peer: Peer) -> None:
    peer.reply(refusal(200, {"models": []}))
    assert "Check the base URL" in str(failure(OpenAIChat("m", base_url=peer.url)))
    peer.reply(refusal(200, "{broken"))
    assert "Check the base URL" in str(failure(OpenAIChat("m", base_url=peer.url)))


def test_a_limit_of_the_context_is_told_inside_a_stream_too(peer: Peer) -> None:
    peer.reply(answer(words("too many tokens", code=400)))
    assert isinstance(failure(OpenAIChat("m", base_url=peer.url)), ContextTooLong)
