"""The examples, each with its web server and its worker, once for a module."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.examples.model_server import ModelServer
from tests.examples.sites import SERVERS, Site, serving
from tests.support.servers import RedisServer


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def question() -> str:
    """A question that no other test asks."""
    return f"question {uuid4().hex}"


@pytest.fixture(params=list(SERVERS), scope="module")
def site(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    model: ModelServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Each example in turn, in a database of Redis of its own."""
    name = request.param
    redis_url = f"{redis_server.url.rpartition('/')[0]}/{1 + list(SERVERS).index(name)}"
    with serving(name, redis_url, model.url, tmp_path_factory.mktemp(name)) as site:
        yield site
