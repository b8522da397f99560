"""Every block of the README and of docs/, as it is pasted, with the built wheel."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent.ledger.embedded_server import stop_server
from tests.docs.answers import Teller
from tests.docs.pages import Interpreter, Walk, blocks_of
from tests.support.servers import free_port
from tests.support.workers import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Languages of blocks that nobody runs.
SHOWN = {"text"}


@pytest.fixture(scope="session")
def clean_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the built wheel, and what it depends on."""
    folder = tmp_path_factory.mktemp("clean")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    own = Path(_site_packages(python))
    # The dependencies are those of the tests; a nested .pth, which has the clone, is not read.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name, module in (("celery", "celery"), ("uvicorn", "uvicorn"), ("pytest", "pytest")):
        script = venv / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{python}" -m {module} "$@"\n')
        script.chmod(0o755)
    return venv / "bin"


@pytest.fixture(scope="module")
def model() -> Iterator[Teller]:
    teller = Teller()
    yield teller
    teller.close()


@pytest.fixture(scope="module")
def interpreter(clean_bin: Path) -> Iterator[Interpreter]:
    started = Interpreter(clean_bin)
    yield started
    started.close()


@pytest.fixture
def walk(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    clean_bin: Path,
    interpreter: Interpreter,
    model: Teller,
) -> Iterator[Walk]:
    folder = tmp_path / "new"
    folder.mkdir()
    env = {
        "PATH": f"{clean_bin}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": model.url,
        "EVENTED_AGENT_HOME": str(tmp_path / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FLOWER_PORT": str(free_port()),
    }
    with Walk(request.param, folder, env, interpreter) as made:
        yield made
    stop_server(tmp_path / "home")


def test_the_environment_has_the_wheel_and_not_the_clone(clean_bin: Path, tmp_path: Path) -> None:
    code = "import evented_agent; print(evented_agent.__file__)"
    done = subprocess.run(
        [clean_bin / "python", "-c", code],
        cwd=tmp_path,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(str(clean_bin.parent)), done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("walk", PAGES, ids=lambda page: page.name, indirect=True)
def test_a_page_works_as_it_is_pasted(walk: Walk) -> None:
    walk.all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_is_of_a_language_that_is_run_or_only_shown(page: Path) -> None:
    known = {"python", "console", "html", *SHOWN}
    assert {block.language for block in blocks_of(page)} <= known
    text = page.read_text()
    assert text.count("```") == 2 * len(blocks_of(page))


def _site_packages(python: Path) -> str:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()
