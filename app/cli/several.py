"""Commands that take several tokens: each is tried, and each failure is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from app.cli import stdin
from app.cli.complaints import EXPECTED, Code, report
from app.core.fields import InvalidFieldsError
from app.core.tokens import Token, is_public_name
from app.services import services

# Not what may be a secret, which must not be repeated.
_WORD = re.compile("[A-Za-z0-9_.-]{1,12}", re.ASCII)
STANDARD = "-"
Ask = Callable[[Sequence[Token]], None]


def agree(_tokens: Sequence[Token]) -> None:
    """Ask nobody."""


def each(
    names: Sequence[str], act: Callable[[Token], None], ask: Ask = agree, *, is_change: bool = True
) -> None:
    """Find the tokens that *names* identify, *ask* about them, and *act* on each of them once.

    A failure is printed on standard error and does not stop the others. The command then says which ones are
    done, if it *is_change*, and exits with the code of the failure, or with REFUSED after several kinds.
    """
    codes: list[int] = []
    found: dict[str, tuple[str, Token]] = {}
    done: list[str] = []
    for number, name in enumerate(names, 1):
        shown = _shown(name, f"{number} of {len(names)}")
        with _noted(codes, f"token {shown}: " if names[1:] else ""):
            token = _find(name, names)
            found.setdefault(token.digest, (token.id if name == STANDARD else name, token))
    if found:
        ask([token for _, token in found.values()])
    for name, token in found.values():
        with _noted(codes, f"token {name}: " if names[1:] else ""):
            act(token)
            done.append(name)
    if codes:
        if is_change and names[1:]:
            click.echo(f"Done: {', '.join(done) or 'none'}.", err=True)
        click.get_current_context().exit(codes[0] if len(set(codes)) == 1 else Code.REFUSED)


def _shown(name: str, place: str) -> str:
    """Return *name* as it was typed, or only its *place* if it may be a secret."""
    return f"{name} ({place})" if is_public_name(name) or _WORD.fullmatch(name) else place


@contextmanager
def _noted(codes: list[int], place: str) -> Iterator[None]:
    """Print an expected error of the block after *place*, and add its exit code to *codes*."""
    try:
        yield
    except EXPECTED as error:
        codes.append(report(error, place))


def _find(name: str, names: Sequence[str]) -> Token:
    """Return the token that *name* identifies; for ``-``, read the token from standard input."""
    if name != STANDARD:
        return services().catalog.find_public(name)
    if names.count(STANDARD) > 1:
        raise InvalidFieldsError({"-": "only one token can be read from standard input"})
    return services().catalog.find(stdin.read("Token").strip())
