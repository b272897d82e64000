"""Limits on the length of functions and modules, which no linter checks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "app").rglob("*.py"))
# Tables: they grow by one row for each thing that they declare.
TABLES = {"app/settings.py", "app/core/fields.py", "app/core/findings.py", "app/web/schemas.py"}
MAX_MODULE_LINES, MAX_FUNCTION_LINES, MEDIAN_FUNCTION_LINES = 220, 25, 5


def functions(module: Path) -> Iterator[ast.FunctionDef]:
    """Yield every function in *module*."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def lines(function: ast.FunctionDef) -> int:
    """Return how many lines *function* has from its name on, without its docstring."""
    total = (function.end_lineno or 0) - function.lineno + 1
    return total - len((ast.get_docstring(function, clean=False) or "").splitlines())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_sizes(module: Path) -> None:
    """No function is longer than 25 lines, and no module longer than 220, unless it is a table."""
    longest = {f.name: lines(f) for f in functions(module) if lines(f) > MAX_FUNCTION_LINES}
    length = len(module.read_text("utf-8").splitlines())

    assert longest == {}
    assert length <= MAX_MODULE_LINES or str(module.relative_to(ROOT)) in TABLES


def test_median() -> None:
    """Half of all functions have at most five lines."""
    assert (
        median(lines(function) for module in MODULES for function in functions(module))
        <= MEDIAN_FUNCTION_LINES
    )
