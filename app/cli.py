"""``flask tokens …``: what the admin pages do, for a shell, and ``flask logins reset``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError, UnknownOutcomeError
from app.core.fields import FIELDS, Field, InvalidFieldsError
from app.core.search import InvalidQueryError
from app.core.text import visible
from app.core.tokens import Token
from app.core.usage import total
from app.services import services

tokens = AppGroup(
    "tokens",
    help="Create, list, change, rotate and delete tokens. TOKEN is an id or a SHA-256; - reads the token "
    "itself from standard input, because other users of the machine can see arguments.",
)
logins = AppGroup("logins", help="Who may sign in to the admin pages.")

_STANDARD_INPUT = "-"
_token = click.argument("name", metavar="TOKEN")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


def _options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each of the fields *names*; what is not given is not sent."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(names):
            option = click.option(f"--{name.replace('_', '-')}", name, help=_help(FIELDS[name]))
            command = option(command)
        return command

    return add


def _help(field: Field) -> str:
    takes = str(field.kind)
    return f"{field.meaning()}. {takes[0].upper()}{takes[1:]}.".replace("`", "")


@tokens.command("create")
@click.argument("hosts", nargs=-1, required=True)
@_options(*(name for name in FIELDS if name != "hosts"))
@_as_json
def create(hosts: tuple[str, ...], *, as_json: bool, **options: str | None) -> None:
    """Make a token for HOSTS and print its text, this one time."""
    with _complaints():
        token, text = services().registry.issue({"hosts": "\n".join(hosts)} | _given(options))
    _print_new(token, text, as_json=as_json)


@tokens.command("list")
@click.option("--host", help="Only those that open this host, or list this pattern, such as '*.example.com'.")
@_as_json
def list_(host: str | None, *, as_json: bool) -> None:
    """List all tokens, newest first."""
    with _complaints():
        registry = services().registry
        for token in registry.all() if host is None else registry.opening(host):
            click.echo(json.dumps(_fields(token)) if as_json else _line(token))


@tokens.command("show")
@_token
def show(name: str) -> None:
    """Show the token with that id or SHA-256, and its use in the last day; - reads the token itself."""
    with _complaints():
        registry = services().registry
        found = registry.find(_named(name))
        day = total(registry.usage(found).hours[-24:])
    click.echo(
        json.dumps(_fields(found) | {"allowed_24h": day.allowed, "refused_24h": day.refused}, indent=2)
    )


@tokens.command("edit")
@_token
@_options(*FIELDS)
def edit(name: str, **options: str | None) -> None:
    """Change what is given of a token, and leave the rest."""
    with _complaints():
        click.echo(json.dumps(_fields(services().registry.edit(_named(name), _given(options))), indent=2))


@tokens.command("disable")
@_token
def disable(name: str) -> None:
    """Switch a token off."""
    with _complaints():
        click.echo(f"disabled {services().registry.enable(_named(name), enabled=False).id}")


@tokens.command("enable")
@_token
def enable(name: str) -> None:
    """Switch a token on again."""
    with _complaints():
        click.echo(f"enabled {services().registry.enable(_named(name), enabled=True).id}")


@tokens.command("rotate")
@_token
@click.option("--grace-seconds", default="0", help="How long the old text stays valid, up to a week.")
@_as_json
def rotate(name: str, grace_seconds: str, *, as_json: bool) -> None:
    """Give a token a new text and print it, this one time."""
    with _complaints():
        rotated, text = services().registry.rotate(_named(name), grace_seconds)
    _print_new(rotated, text, as_json=as_json)


@tokens.command("delete")
@_token
def delete(name: str) -> None:
    """Delete a token for good."""
    with _complaints():
        click.echo(f"deleted {services().registry.delete(_named(name)).id}")


@tokens.command("old-peppers")
def old_peppers() -> None:
    """Print how many tokens have not met the current PEPPER since PEPPER_PREVIOUS was set."""
    with _complaints():
        click.echo(services().registry.count_old_peppers())


@tokens.command("forget-pepper")
@click.confirmation_option(prompt="Every token made with another PEPPER is lost then. Go on?")
def forget_pepper() -> None:
    """Take the PEPPER of now for the right one, whatever tokens were made with."""
    with _complaints():
        services().registry.forget_peppers()


@logins.command("reset")
def reset() -> None:
    """Forget all wrong passwords, so that everybody may sign in again at once."""
    with _complaints():
        click.echo(f"forgot {services().logins.reset()} wrong passwords")


def _named(name: str) -> str:
    """Return what names the token to the registry, from an argument or from standard input."""
    if name != _STANDARD_INPUT:
        return services().registry.find_public(name).digest
    typed = click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    return str(typed).strip()


def _given(options: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _print_new(token: Token, text: str, *, as_json: bool) -> None:
    click.echo(json.dumps({"token": text, **_fields(token)}) if as_json else text)


@contextmanager
def _complaints() -> Iterator[None]:
    try:
        yield
    except (InvalidFieldsError, InvalidQueryError, NoSuchTokenError, ConflictError) as error:
        raise _complaint(str(error)) from None
    except UnknownOutcomeError as error:
        raise _complaint(f"{error}. Whether it was done is not known; look before you go on.") from None
    except StoreUnavailableError as error:
        raise _complaint(f"{error}. Nothing was changed.") from None


def _complaint(message: str) -> click.ClickException:
    return click.ClickException(visible(message))


def _fields(token: Token) -> dict[str, Any]:
    return token.described(services().registry.now_s)


def _line(token: Token) -> str:
    status, name = token.status(services().registry.now_s), token.digest if token.fault else token.id
    shown = name, status, _moment(token.expires_at), ",".join(token.hosts), token.email, token.comment
    return "\t".join(map(visible, shown))


def _moment(seconds: int | None) -> str:
    try:
        return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):  # beyond the year 9999, as others may have written
        return f"@{seconds}"


def shell_context() -> dict[str, Any]:
    """Return what ``flask shell`` has at hand."""
    made = services()
    return {"settings": made.settings, "gate": made.gate, "registry": made.registry}
