"""Requests that are made from the OpenAPI document, right ones and wrong ones: no 5xx."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from evented_agent import InProcessAgent
from evented_agent.web import create_app
from evented_agent.web.openapi import openapi_document
from tests.http.conftest import Served, authorize, durable, serving

__all__ = ["durable"]

#: A conversation's stream never ends; by `HEAD` it is asked all the same.
schema = schemathesis.openapi.from_dict(openapi_document()).exclude(
    path="/threads/{thread_id}/stream", method="GET"
)


@pytest.fixture(scope="module")
def served_for_all(durable: InProcessAgent) -> Iterator[Served]:
    with serving(create_app(durable.client, authorize=authorize, token_keys=["k" * 32])) as served:
        yield served


@schema.parametrize()
@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_request_is_an_error_of_ours(
    case: "schemathesis.Case[Any]", served_for_all: Served
) -> None:
    """Signed in, and as nobody; with whatever the document allows, and what it does not."""
    for name in ("ann", ""):
        headers = {"Authorization": f"Bearer {name}"} if name else {}
        reply = case.call(base_url=served_for_all.url, headers=headers, timeout=20)
        case.validate_response(reply, checks=[not_a_server_error])
        assert reply.status_code < 500
