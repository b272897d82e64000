"""The value of Retry-After."""

import pytest

from app.core.limits import Limit, Refusal


@pytest.mark.parametrize(
    ("wait_us", "seconds"),
    [(1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (59_999_999, 60), (60_000_000, 60)],
)
def test_retry_after(wait_us: int, seconds: int) -> None:
    """Retry-After is in whole seconds, at least one, and never a second longer than necessary."""
    assert Refusal(Limit(1, 60), wait_us).retry_after_s == seconds
