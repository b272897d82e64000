"""Which tokens ``tokens list`` lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import NamedTuple

import click

from app.cli.arguments import Function, seconds
from app.core import search
from app.core.listing import Filter
from app.core.search import Query
from app.core.tokens import EXPIRING_S, Status, Token
from app.services import services

ENDED = "ended"
Options = Mapping[str, str | None]

_OPTIONS: tuple[Callable[[Function], Function], ...] = (
    click.option(
        "--query",
        metavar="TEXT",
        help="Tokens with this host, id or its beginning, SHA-256, or part of an email or comment.",
    ),
    click.option("--host", help="Tokens that open this host, or list this pattern, such as '*.example.com'."),
    click.option(
        "--status",
        type=click.Choice([*map(str, Status), ENDED]),
        help="Tokens with this status; ended means in the last 30 days.",
    ),
    click.option("--within", metavar="DURATION", help="Tokens that expire within 7d, 12h, …"),
    click.option(
        "--expiring",
        metavar="[DURATION]",
        is_flag=False,
        flag_value=f"{EXPIRING_S}",
        help="Short for --status expiring --within DURATION; by default within a week.",
    ),
    click.option("--unused", metavar="DURATION", help="Tokens that were not used for 90d, 4w, …"),
    click.option("--email", help="Tokens whose email contains this text, in upper or lower case."),
    click.option("--comment", help="Tokens whose comment contains this text, in upper or lower case."),
)


def options(command: Function) -> Function:
    """Add the options that choose tokens."""
    return reduce(lambda function, option: option(function), reversed(_OPTIONS), command)


class Choice(NamedTuple):
    """A filter, and whether the tokens must be valid now, however long they still are."""

    filter: Filter
    is_of_valid: bool = False

    def admits(self, token: Token, now_s: int) -> bool:
        """Return whether *token*, which the filter admits, is listed."""
        return not self.is_of_valid or token.status(now_s) in {Status.ACTIVE, Status.EXPIRING}


def chosen(given: Options) -> Choice:
    """Return which tokens the options choose; raises UsageError, InvalidFieldsError and InvalidQueryError.

    The status ``expiring`` is that of a valid token in its last week, and with a duration that of one in so
    long before its end.
    """
    status, within = _ending(given)
    is_span = status == Status.EXPIRING and within is not None
    wanted = Filter(
        query=_query(given),
        status=Status(status) if status and not is_span else None,
        host=search.by_host(given["host"]) if given["host"] is not None else None,
        email=given["email"] or "",
        comment=given["comment"] or "",
        within_s=seconds("within", within) if within is not None else None,
        unused_s=seconds("unused", given["unused"]) if given["unused"] is not None else None,
    )
    return Choice(wanted, is_span)


def _ending(given: Options) -> tuple[str | None, str | None]:
    """Return the status and the duration, which ``--expiring`` may stand for."""
    if given["expiring"] is None:
        return given["status"], given["within"]
    if given["status"] not in {None, Status.EXPIRING} or given["within"] is not None:
        raise click.UsageError("--expiring goes with no other --status and not with --within")
    return Status.EXPIRING, given["expiring"]


def query_of_ended(given: Options, *, is_sorted: bool) -> Query | None:
    """Return which ended tokens to list, None for all; raises UsageError and InvalidQueryError."""
    sent = {name for name, value in given.items() if value is not None} - {"status"}
    if is_sorted or sent - {"query", "host"} or len(sent) > 1:
        raise click.UsageError("--status ended goes with --query or with --host alone")
    return search.by_host(given["host"]) if given["host"] is not None else _query(given)


def _query(given: Options) -> Query | None:
    typed = (given["query"] or "").strip()
    return search.understand(typed, services().settings.token_prefix) if typed else None
