"""What holds for the tests themselves."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workers import ROOT

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNDAMENTALS = sorted((ROOT / "tests/fundamentals").glob("test_*.py"))


def find_tests(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function) and node.name.startswith("test_"):
            yield node


def test_a_name_says_one_thing() -> None:
    places = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test in find_tests(path):
            places[test.name].append(f"{path.relative_to(ROOT)}:{test.lineno}")

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("path", FUNDAMENTALS, ids=lambda path: str(path.name))
def test_a_fundamental_is_short_and_teaches_one_sentence(path: Path) -> None:
    for test in find_tests(path):
        assert (test.end_lineno or 0) - test.lineno < 20, test.name
        taught = ast.get_docstring(test) or ""
        assert taught.endswith("."), test.name
        assert len(taught.splitlines()) == 1, test.name
