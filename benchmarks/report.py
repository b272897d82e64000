"""Figures as Markdown tables and as an SVG chart."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

LOAD_AT_START = os.getloadavg()[0]
BUSY = 0.5
TIMES = "×"  # noqa: RUF001 - a ratio, no letter

_STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600 }
    .bar { fill: #8c959f }
    .ours { fill: #0969da }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .bar { fill: #6e7681 }
      .ours { fill: #4493f8 }
    }
"""
_WIDTH, _LABEL, _VALUE, _ROW, _TITLE = 720, 190, 80, 28, 44


@dataclass(frozen=True)
class Goal:
    """A target for a figure; *value* and *target* are both ratios or both have the same unit."""

    figure: str
    measured: str
    value: float
    target: float
    at_most: bool
    unit: str = TIMES
    is_fair: bool = True

    @property
    def is_reached(self) -> bool:
        """Return whether the target is met."""
        within = self.value <= self.target if self.at_most else self.value >= self.target
        return within and self.is_fair

    def row(self) -> tuple[str, ...]:
        """Return its cells in a table."""
        sign, digits = "≤" if self.at_most else "≥", 2 if self.unit == TIMES else 0
        target = f"{sign} {self.target:g}{self.unit}"
        value = f"{self.value:.{digits}f}{self.unit}"
        return self.figure, self.measured, value, target, "yes" if self.is_reached else "**no**"


@dataclass(frozen=True)
class Part:
    """What a part of the benchmarks found: its targets and its text."""

    goals: Sequence[Goal]
    text: str


GOALS_HEAD = ("figure", "measured", "value", "target", "reached")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def publish(title: str, part: Part) -> None:
    """Print a part that was measured alone, and write it to a file with that name."""
    goals = table(GOALS_HEAD, (goal.row() for goal in part.goals)) if part.goals else ""
    text = f"{part.text}\n{goals}\n{machine()}\n"
    Path(__file__).with_name(f"{title}.md").write_text(text)
    print(text)


def warn_if_busy() -> None:
    """Warn if the machine is busy, when even ratios mean little."""
    if LOAD_AT_START > BUSY:
        print(f"The machine is busy (load {LOAD_AT_START:.1f}): don't trust these figures.", file=sys.stderr)


def number(value: float) -> str:
    """Return a whole number with its thousands separated by spaces."""
    return f"{value:,.0f}".replace(",", " ")


def machine() -> str:
    """Describe the machine as far as it matters for the figures."""
    system = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return f"{system}, Python {platform.python_version()}, load {LOAD_AT_START:.1f} before it began."


def chart(groups: Mapping[str, Mapping[str, float]], ours: str) -> str:
    """Return an SVG bar chart in which each group has its own scale."""
    body, top = [], 0
    for title, bars in groups.items():
        body.append(f'<text class="title" x="0" y="{top + 28}">{escape(title)}</text>')
        for line, (name, value) in enumerate(bars.items()):
            length = value / max(bars.values()) * (_WIDTH - _LABEL - _VALUE)
            body.append(_bar(top + _TITLE + line * _ROW, name, value, length, name == ours))
        top += _TITLE + len(bars) * _ROW
    return _svg(body, top, "; ".join(groups))


def _bar(y: int, name: str, value: float, length: float, is_ours: bool) -> str:  # noqa: FBT001
    css = "bar ours" if is_ours else "bar"
    return (
        f'<text x="{_LABEL - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="{css}" x="{_LABEL}" y="{y}" width="{length:.0f}" height="20" rx="3"/>'
        f'<text x="{_LABEL + length + 8:.0f}" y="{y + 15}">{number(value)}</text>'
    )


def _svg(body: Sequence[str], height: int, title: str) -> str:
    lines = "".join(f"  {line}\n" for line in body)
    box = f'viewBox="0 0 {_WIDTH} {height + 8}" width="{_WIDTH}" height="{height + 8}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">\n'
        f"  <title>{escape(title)}</title>\n  <style>{_STYLE}  </style>\n{lines}</svg>\n"
    )
