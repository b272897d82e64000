"""Parameters of the lists of tokens, and what the API returns of those that ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.core.ended import FoundEnded
from app.core.fields import InvalidFieldsError

ENDED = "ended"
_PAGE = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


def page_number(sent: Mapping[str, str]) -> int:
    """Return the number in the parameter ``page``, or 1 if it is not one."""
    number = sent.get("page", "")
    return int(number) if _PAGE.fullmatch(number) else 1


def wants_ended(sent: Mapping[str, str]) -> bool:
    """Return whether the parameter ``status`` selects the ended tokens; raise InvalidFieldsError."""
    status = sent.get("status", "")
    if status and status != ENDED:
        raise InvalidFieldsError({"status": f"the only status that can be listed is {ENDED}"})
    return bool(status)


def shown(found: FoundEnded) -> dict[str, Any]:
    """Return *found* as the API returns it."""
    return {
        "tokens": [token.described() for token in found.tokens],
        "next_cursor": found.more,
        "total": found.total,
    }
