"""Single cases."""

from __future__ import annotations

from chaos.report import Table


def table(*, quick: bool) -> Table:
    """Try them."""
    return Table("Single cases", ("case",))
