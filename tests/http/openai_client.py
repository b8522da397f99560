"""OpenAI's own client, against the server of the tests."""

from typing import Any

from openai import DefaultHttpxClient, OpenAI

from tests.http.conftest import Served

#: Where OpenAI's clients look for what they ask.
OPENAI_PATH = "/openai/v1"


def client_of(served: Served, name: str = "ann", **options: Any) -> OpenAI:
    """The client of somebody, which repeats nothing by itself."""
    return OpenAI(
        base_url=f"{served.url}{OPENAI_PATH}",
        api_key=name or "nobody",
        http_client=DefaultHttpxClient(trust_env=False),
        max_retries=options.pop("max_retries", 0),
        timeout=options.pop("timeout", 20),
        **options,
    )
