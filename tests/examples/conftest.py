"""The examples, each with its web server and its worker, once for a module."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.examples.model_server import ModelServer
from tests.examples.sites import EXAMPLES, Process, Shop, Site, environment
from tests.support.servers import RedisServer, free_port


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def question() -> str:
    """A question that no other test asks."""
    return f"question {uuid4().hex}"


@pytest.fixture(params=["fastapi", "django", "flask"], scope="module")
def site(request: pytest.FixtureRequest) -> Site:
    """Each example in turn."""
    found: Site = request.getfixturevalue(f"{request.param}_site")
    return found


@pytest.fixture(scope="module")
def fastapi_site(
    redis_server: RedisServer, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    port = free_port()
    redis_url = _database(redis_server, 1)
    env = environment(redis_url, model.url) | {"SSE_HEARTBEAT": "0.3"}
    logs = tmp_path_factory.mktemp("fastapi")
    web = Process(
        ["-m", "uvicorn", "fastapi_app.main:web", "--port", str(port)], EXAMPLES, env, logs / "web"
    )
    with Site(web, _worker("fastapi_app.agents", EXAMPLES, env, logs), port, redis_url) as site:
        yield site


@pytest.fixture(scope="module")
def flask_site(
    redis_server: RedisServer, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    port = free_port()
    redis_url = _database(redis_server, 2)
    env = environment(redis_url, model.url)
    logs = tmp_path_factory.mktemp("flask")
    web = Process(
        ["-m", "flask", "--app", "flask_app", "run", "--port", str(port)],
        *(EXAMPLES, env, logs / "web"),
    )
    with Site(web, _worker("flask_app.worker", EXAMPLES, env, logs), port, redis_url) as site:
        yield site


@pytest.fixture(scope="module")
def shop_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop") / "db.sqlite3"


@pytest.fixture(scope="module")
def django_site(
    redis_server: RedisServer,
    model: ModelServer,
    shop_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shop]:
    port = free_port()
    redis_url = _database(redis_server, 3)
    env = environment(redis_url, model.url) | {"DATABASE": str(shop_database)}
    logs = tmp_path_factory.mktemp("django")
    folder = EXAMPLES / "django_app"
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=folder, env=env, check=True, timeout=60)
    web = Process(["manage.py", "runserver", "--noreload", str(port)], folder, env, logs / "web")
    with Shop(web, _worker("shop", folder, env, logs), port, redis_url) as site:
        yield site


def _worker(app: str, folder: Path, env: dict[str, str], logs: Path) -> Process:
    command = ["-m", "celery", "-A", app, "worker", "-P", "threads", "-c", "10", "-Q", "agents"]
    quick = ["-n", f"{app}@test", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    return Process([*command, *quick], folder, env, logs / "worker")


def _database(server: RedisServer, number: int) -> str:
    return f"{server.url.rpartition('/')[0]}/{number}"
