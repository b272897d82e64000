"""Commands that take several tokens: each is tried, and each failure is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from app.cli import stdin
from app.cli.complaints import EXPECTED, Code, report
from app.core.fields import InvalidFieldsError
from app.core.tokens import Token
from app.services import services

Ask = Callable[[Sequence[Token]], None]


def agree(_tokens: Sequence[Token]) -> None:
    """Ask nobody."""


def each(names: Sequence[str], act: Callable[[Token], None], ask: Ask = agree) -> None:
    """Find the tokens that *names* identify, *ask* about them, and *act* on each of them once.

    A failure is printed on standard error and does not stop the others; the command then exits with its
    code, or with REFUSED if there were several kinds of failures.
    """
    codes: list[int] = []
    found: dict[str, Token] = {}
    for number, name in enumerate(names, 1):
        with _noted(codes, f"token {number} of {len(names)}: " if names[1:] else ""):
            token = _find(name, names)
            found.setdefault(token.digest, token)
    if found:
        ask([*found.values()])
    for token in found.values():
        with _noted(codes, f"token {token.id}: " if names[1:] else ""):
            act(token)
    if codes:
        click.get_current_context().exit(codes[0] if len(set(codes)) == 1 else Code.REFUSED)


@contextmanager
def _noted(codes: list[int], place: str) -> Iterator[None]:
    """Print an expected error of the block after *place*, and add its exit code to *codes*."""
    try:
        yield
    except EXPECTED as error:
        codes.append(report(error, place))


def _find(name: str, names: Sequence[str]) -> Token:
    """Return the token that *name* identifies; for ``-``, read the token from standard input."""
    if name != "-":
        return services().catalog.find_public(name)
    if names.count("-") > 1:
        raise InvalidFieldsError({"-": "only one token can be read from standard input"})
    return services().catalog.find(stdin.read("Token").strip())
