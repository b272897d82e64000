"""How ``flask doctor`` shows what it found."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import click

from app.core.findings import EXIT_STATUS, Area, Finding, Severity
from app.core.text import visible

_COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_WORST_FIRST = tuple(reversed(Severity))
_MIN_WIDTH, _MAX_WIDTH = 40, 110
_INDENT = " " * 6
_HINTS = {Area.ENTRANCE: "; it takes --url with the public address of a protected backend"}


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as a list in JSON."""
    return json.dumps([found.described() for found in findings], indent=2)


def as_text(findings: Sequence[Finding], summaries: Mapping[Area, str]) -> str:
    """Return one line for each area, then the findings with their reasons and remedies, the worst first."""
    areas = [_area(area, summaries.get(area), findings) for area in Area]
    ordered = sorted(findings, key=lambda found: _WORST_FIRST.index(found.severity))
    groups = {found.id: [one for one in ordered if one.id == found.id] for found in ordered}
    return "\n".join([*areas, *map(_finding, groups.values())])


def exit_status(findings: Iterable[Finding]) -> int:
    """Return the exit status for the worst of *findings*."""
    return max((EXIT_STATUS[found.severity] for found in findings), default=0)


def _area(area: Area, summary: str | None, findings: Sequence[Finding]) -> str:
    if summary is None:
        return f"{area:<9} not checked{_HINTS.get(area, '')}"
    counts = Counter(found.severity for found in findings if found.area is area)
    shown = ", ".join(_counted(severity, counts[severity]) for severity in _WORST_FIRST if counts[severity])
    return f"{area:<9} {shown or click.style('ok', fg='green')}: {visible(summary)}"


def _counted(severity: Severity, count: int) -> str:
    plural = "s" if count > 1 and severity is not Severity.INFO else ""
    return click.style(f"{count} {severity}{plural}", fg=_COLORS[severity])


def _finding(group: Sequence[Finding]) -> str:
    """Return a finding, or several that differ in their details alone."""
    found, *others = group
    title = _wrapped(f"{found.severity:<7} {found.id}: {found.what}", "").replace(
        found.severity, click.style(found.severity, fg=_COLORS[found.severity]), 1
    )
    texts = [*(other.what for other in others), f"why: {found.why}", f"fix: {found.fix}"]
    return "\n".join(["", title, *map(_wrapped, texts)])


def _wrapped(text: str, first_indent: str = _INDENT) -> str:
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    return textwrap.fill(
        visible(text),
        max(width, _MIN_WIDTH),
        initial_indent=first_indent,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
