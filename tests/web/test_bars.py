"""The bars in the rows of the table."""

from __future__ import annotations

import re

import pytest

from app.core.usage import HOURS as KEPT, Counts, Usage
from app.web.console.bars import HEIGHT, HOURS, bars


def heights(outline: str) -> list[int]:
    """Return the height of each hour under an outline."""
    steps = re.findall(r"V(\d)h(\d+)", outline)
    assert f"M0 {HEIGHT}{''.join(f'V{y}h{width}' for y, width in steps)}V{HEIGHT}z" == outline
    return [HEIGHT - int(y) for y, width in steps for _ in range(int(width))]


@pytest.mark.parametrize(
    ("hour", "whole", "refused"),
    [
        (Counts(), 0, 0),
        (Counts(900), 9, 0),
        (Counts(1), 1, 0),
        (Counts(0, 1), 1, 1),
        (Counts(1, 0, 1), 2, 1),
        (Counts(450, 450), 9, 5),
        (Counts(1, 0, 0, 899), 9, 8),
        (Counts(10**9 - 1, 1), 9, 1),
    ],
)
def test_heights(hour: Counts, whole: int, refused: int) -> None:
    """The busiest hour has full height; what is not zero can be seen, however little it is."""
    busiest = Counts(max(900, hour.total))
    drawn = bars(Usage(hours=(Counts(5),) * (KEPT - 2) + (hour, busiest)))

    assert heights(drawn.all)[-2:] == [whole, HEIGHT]
    assert len(heights(drawn.all)) == HOURS
    assert (heights(drawn.refused)[-2] if drawn.refused else 0) == refused
    assert drawn.sums.allowed == 5 * (HOURS - 2) + hour.allowed + busiest.allowed
