"""Tables that fit a terminal, and the progress of a search."""

from __future__ import annotations

import io
import sys

import pytest
from click import unstyle

from app.cli import progress, tables
from app.cli.tables import Cell, Column, cut, width
from app.core.listing import NEWEST_FIRST, Order, Sort
from app.core.search import Found
from app.core.tokens import Token
from devkit.builders import make_token

COLUMNS = (Column("ID", is_cut=False), Column("HOSTS"), Column("COMMENT"))
LONG = "日本語のコメント, and a long tail that does not fit into any terminal of eighty columns"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("abc", 3),
        ("日本", 4),
        ("e\u0301", 1),
        ("한글", 4),
        ("\uff21", 2),
        ("é", 1),
        ("\U0001f511", 2),
    ],
)
def test_width(text: str, columns: int) -> None:
    """A wide character takes two columns, and an accent none."""
    assert width(text) == columns


@pytest.mark.parametrize("text", [LONG, "abc", "日本", "e\u0301" * 20, "a日" * 9, ""])
def test_cut(text: str) -> None:
    """A text is cut only if it does not fit, then fits, and begins like the whole text."""
    for most in range(2, 40):
        shown = cut(text, most)
        assert width(shown) <= most
        assert shown == text if width(text) <= most else text.startswith(shown.removesuffix("…"))
        assert width(text) <= most or width(shown) >= most - 1


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("comment", ["", "short", LONG, LONG * 9])
def test_fit(monkeypatch: pytest.MonkeyPatch, columns: int, comment: str) -> None:
    """No line is wider than the terminal, the columns are aligned, and no id is cut."""
    monkeypatch.setenv("COLUMNS", f"{columns}")
    rows = [[Cell(f"1m85v745vvbyf6s{n}"), Cell("host.example.com," * n), Cell(comment)] for n in (1, 5)]
    printed, left_out = tables.table(COLUMNS, rows)
    head, *lines = map(unstyle, printed)

    assert all(width(line) <= columns for line in (head, *lines))
    assert [line.split()[0] for line in lines] == ["1m85v745vvbyf6s1", "1m85v745vvbyf6s5"]
    start = head.find("HOSTS")
    assert all(line[start - 1 : start + 1] == " h" for line in lines) or start == -1
    assert ("COMMENT" in head) is (bool(comment) and columns >= 40)
    assert [*head.split(), *left_out] == ["ID", "HOSTS", *(["COMMENT"] if comment else [])]
    assert all(line.endswith(LONG) for line in lines) is (comment == LONG and columns == 200)


def test_color() -> None:
    """A color ends with its text, and does not change the width of the column."""
    rows = [[Cell("a", "green"), Cell("b")], [Cell("abc"), Cell("d")]]
    _, *lines = tables.table(COLUMNS[:2], rows).lines

    assert lines == ["\x1b[32ma\x1b[0m    b", "abc  d"]


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def pages(total: int) -> list[Found]:
    """Return the pages of a search through *total* tokens, each of which has one."""
    tokens: list[Token] = [make_token("ab" * 32), make_token("cd" * 32)]
    return [Found(None, (token,), total * n // 2, total) for n, token in enumerate(tokens, 1)]


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("total", [9_999, 10_000])
@pytest.mark.parametrize("order", [NEWEST_FIRST, Order(Sort.EXPIRES_AT)])
def test_progress(monkeypatch: pytest.MonkeyPatch, total: int, order: Order, *, is_terminal: bool) -> None:
    """Only on a terminal, and only for a long search from the newest token on, the progress is shown."""
    screen = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    found = [*progress.watched(iter(pages(total)), order)]

    assert [token.digest[:2] for token in found] == ["ab", "cd"]
    assert ("100%" in screen.getvalue()) is (is_terminal and total == 10_000 and order == NEWEST_FIRST)
    assert bool(screen.getvalue()) is ("100%" in screen.getvalue())
