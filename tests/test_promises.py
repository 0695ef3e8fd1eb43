"""The page of promises names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "promises.rst").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"``(test_\w+\.py)::([\w:]+)``", PAGE)))


def names_in(body, prefix=""):
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from names_in(node.body, f"{prefix}{node.name}::")


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_a_promise_names_exists(file):
    existing = set(names_in(ast.parse((TESTS / file).read_text(encoding="utf-8")).body))
    assert {name for of, name in NAMED if of == file} <= existing


def test_every_promise_names_a_test():
    row = re.compile(r"^   \* - (.*?)^     - (.*?)(?=^   \*|^\S|\Z)", re.MULTILINE | re.DOTALL)
    assert len(row.findall(PAGE)) > 20
    for promise, proof in row.findall(PAGE):
        assert proof.strip() == "Test" or "``test_" in proof, promise
    for script in re.findall(r"``stress/(\w+\.py)``", PAGE):
        assert (TESTS / "stress" / script).exists()
