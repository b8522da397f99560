"""What the wheel ships, and the sizes that keep the code readable."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import evented_agent
from tests.support.workers import ROOT

MODULES = sorted((ROOT / "evented_agent").rglob("*.py"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        return file.namelist()


def test_the_wheel_ships_the_library_and_nothing_else(shipped: list[str]) -> None:
    top = {name.partition("/")[0] for name in shipped}
    assert top == {"evented_agent", "evented_agent-0.1.0.dist-info"}
    assert "evented_agent/py.typed" in shipped
    scripts = {path.name for path in (ROOT / "evented_agent/ledger/lua").glob("*/*.lua")}
    assert {Path(name).name for name in shipped if name.endswith(".lua")} == scripts


def test_the_wheel_has_the_pages_of_the_console_with_the_licences_of_others(
    shipped: list[str],
) -> None:
    console = ROOT / "evented_agent/web/console"
    needed = [
        path.relative_to(ROOT).as_posix()
        for folder in ("templates", "static")
        for path in (console / folder).rglob("*")
        if path.is_file()
    ]

    assert len(needed) > 40
    assert set(needed) <= set(shipped)
    for package in (console / "static/vendor").iterdir():
        about = json.loads((package / "package.json").read_text())
        assert all(about[name] for name in ("name", "version", "license"))
        assert (package / "LICENSE").read_text().strip()


def test_the_console_is_loaded_where_it_is_served_alone() -> None:
    code = (
        "import sys, evented_agent, evented_agent.cli; "
        "sys.exit(any(m.startswith(('jinja2', 'evented_agent.web')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_every_public_name_exists_once() -> None:
    assert sorted(evented_agent.__all__) == sorted(set(evented_agent.__all__))
    assert all(hasattr(evented_agent, name) for name in evented_agent.__all__)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_fit_in_a_head(path: Path) -> None:
    text = path.read_text()

    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False) or ""
            length = (node.end_lineno or 0) - node.lineno - len(doc.splitlines())
            assert length <= 50, f"{node.name} has {length} lines"


def test_the_readme_is_short_and_its_python_is_python() -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = [block.partition("```")[0] for block in readme.split("```python\n")[1:]]

    assert len(readme.splitlines()) <= 150
    for block in blocks:
        ast.parse(block)


def test_a_public_name_is_defined_in_one_module() -> None:
    modules = defaultdict(set)
    for path in MODULES:
        for name in defined_in(ast.parse(path.read_text())):
            modules[name].add(str(path.relative_to(ROOT)))

    # Each module logs under its own name.
    del modules["logger"]
    assert {name: sorted(where) for name, where in modules.items() if len(where) > 1} == {}


def defined_in(module: ast.Module) -> Iterator[str]:
    """The public names that a module defines at its top, imports apart."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def test_no_test_reads_the_environment_before_its_server_is_up() -> None:
    """The apps of the tests read where their Redis is when they are imported: not at collection."""
    early = re.compile(r"^from tests\.support\.(agents|app|deployment) import", re.MULTILINE)
    assert [
        str(path) for path in Path("tests").rglob("test_*.py") if early.search(path.read_text())
    ] == []
