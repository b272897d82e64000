"""The commands ``flask tokens …``, which do what the admin pages do, and ``flask logins reset``."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup

from app import rows, stdin
from app.core import search
from app.core.audit import Actor, Via
from app.core.changes import Change, Issued
from app.core.durability import WARNINGS
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError, UnknownOutcomeError
from app.core.fields import FIELDS, Field, InvalidFieldsError
from app.core.listing import Filter
from app.core.search import InvalidQueryError
from app.core.text import visible
from app.core.tokens import Token
from app.core.usage import total
from app.services import services
from app.version import NAME, VERSION

tokens = AppGroup(
    "tokens",
    help="Create, list, change, rotate and delete tokens. TOKEN is an id or a SHA-256; - reads the token "
    "itself from standard input, because other users of the machine can see arguments.",
)
logins = AppGroup("logins", help="Manage sign-ins to the admin pages.")
for _group in (tokens, logins):
    click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")(_group)

_token = click.argument("name", metavar="TOKEN")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")


def _options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each of the fields *names*; an omitted option is not passed on."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(names):
            command = click.option(f"--{name.replace('_', '-')}", name, help=_help(FIELDS[name]))(command)
        return command

    return add


def _help(field: Field) -> str:
    takes = str(field.kind)
    return f"{field.meaning()}. {takes[0].upper()}{takes[1:]}.".replace("`", "")


@tokens.command("create")
@click.argument("hosts", nargs=-1, required=True)
@_options(*(name for name in FIELDS if name != "hosts"))
@stdin.existing_secret
@_as_json
def create(hosts: tuple[str, ...], *, as_json: bool, secret: str | None, weak: bool, **options: Any) -> None:
    """Create a token for HOSTS and print its secret; it is not shown again."""
    if weak and secret is None:
        raise click.BadParameter(
            "only with --secret -; a generated secret is never weak", param_hint="--weak"
        )
    typed = {"hosts": "\n".join(hosts)} | _given(options)
    with _complaints():
        issued = services().registry.issue(_actor(), typed, secret=secret, allow_weak=weak)
    _print_issued(issued, as_json=as_json)


@tokens.command("list")
@click.option("--host", help="Only those that open this host, or list this pattern, such as '*.example.com'.")
@click.option("--status", type=click.Choice(["ended"]), help="Those that ended in the last 30 days instead.")
@_as_json
def list_(host: str | None, status: str | None, *, as_json: bool) -> None:
    """List all tokens, newest first, or those that ended, the last to end first."""
    with _complaints():
        catalog, now_s = services().catalog, services().registry.now_s
        if status:
            for ended in catalog.all_ended(host):
                click.echo(json.dumps(ended.described()) if as_json else rows.of_ended(ended))
            return
        for token in catalog.all_listed(Filter(host=search.by_host(host) if host is not None else None)):
            click.echo(json.dumps(token.described(now_s)) if as_json else rows.of_token(token, now_s))


@tokens.command("show")
@_token
def show(name: str) -> None:
    """Show a token, its usage in the last 24 hours and its quota."""
    with _complaints():
        token, now_s = _find(name), services().registry.now_s
        day, quota = total(services().catalog.usage(token, now_s).hours[-24:]), token.quota(now_s)
    used = {"allowed_24h": day.allowed, "refused_24h": day.refused, "quota": quota and quota.described()}
    click.echo(json.dumps(token.described(now_s) | used, indent=2))


@tokens.command("edit")
@_token
@_options(*FIELDS)
def edit(name: str, **options: str | None) -> None:
    """Change the given fields of a token and leave the others unchanged."""
    with _complaints():
        change = services().registry.edit(_actor(), _find(name), _given(options))
    click.echo(json.dumps(_described(change), indent=2))
    _warn(change)


@tokens.command("disable")
@_token
def disable(name: str) -> None:
    """Disable a token."""
    with _complaints():
        _print_done("disabled", services().registry.enable(_actor(), _find(name), enabled=False))


@tokens.command("enable")
@_token
def enable(name: str) -> None:
    """Enable a token."""
    with _complaints():
        _print_done("enabled", services().registry.enable(_actor(), _find(name), enabled=True))


@tokens.command("rotate")
@_token
@click.option("--grace-seconds", default="0", help="How long the old secret stays valid, up to a week.")
@_as_json
def rotate(name: str, grace_seconds: str, *, as_json: bool) -> None:
    """Give a token a new secret and print it; it is not shown again."""
    with _complaints():
        issued = services().registry.rotate(_actor(), _find(name), grace_seconds)
    _print_issued(issued, as_json=as_json)


@tokens.command("delete")
@_token
def delete(name: str) -> None:
    """Delete a token permanently."""
    with _complaints():
        _print_done("deleted", services().registry.delete(_actor(), _find(name)))


@tokens.command("old-peppers")
def old_peppers() -> None:
    """Print how many tokens have not been used with the current PEPPER since PEPPER_PREVIOUS was set."""
    with _complaints():
        click.echo(services().catalog.count_old_peppers())


@tokens.command("forget-pepper")
@click.confirmation_option(prompt="Every token created with another PEPPER will be lost. Continue?")
def forget_pepper() -> None:
    """Accept the current PEPPER as the right one, whichever pepper tokens were created with."""
    with _complaints():
        services().registry.forget_peppers()


@logins.command("reset")
def reset() -> None:
    """Forget all wrong passwords, so that every operator may sign in again at once."""
    with _complaints():
        click.echo(f"forgot {services().logins.reset()} wrong passwords")


def _actor() -> Actor:
    """Return the user of the operating system, as far as it is known."""
    try:
        return Actor(Via.SHELL, visible(getpass.getuser()))
    except (KeyError, OSError):  # a container may run as a user without a name
        return Actor(Via.SHELL, f"uid {os.getuid()}")


def _find(name: str) -> Token:
    """Return the token that *name* identifies; for ``-``, read the token from standard input."""
    catalog = services().catalog
    return catalog.find(stdin.read("Token").strip()) if name == "-" else catalog.find_public(name)


def _given(options: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _print_issued(issued: Issued, *, as_json: bool) -> None:
    """Print the secret alone on standard output in plain mode, because scripts read it from there."""
    click.echo(json.dumps({"token": issued.secret, **_described(issued)}) if as_json else issued.secret)
    _warn(issued)


def _print_done(verb: str, change: Change) -> None:
    click.echo(f"{verb} {change.token.id}")
    _warn(change)


def _described(change: Change) -> dict[str, Any]:
    return change.token.described(change.changed_at) | {"durability": change.durability.value}


def _warn(change: Change) -> None:
    """Print on standard error why a crash of Redis may undo *change*, if it may."""
    if warning := WARNINGS.get(change.durability):
        click.echo(f"{warning}.", err=True)


@contextmanager
def _complaints() -> Iterator[None]:
    try:
        yield
    except (InvalidFieldsError, InvalidQueryError, NoSuchTokenError, ConflictError) as error:
        raise _complaint(str(error)) from None
    except UnknownOutcomeError as error:
        raise _complaint(f"{error}. The change may have been made; check before you continue.") from None
    except StoreUnavailableError as error:
        raise _complaint(f"{error}. Nothing was changed.") from None


def _complaint(message: str) -> click.ClickException:
    return click.ClickException(visible(message))


def shell_context() -> dict[str, Any]:
    """Return the names that ``flask shell`` defines."""
    return {name: getattr(services(), name) for name in ("settings", "gate", "catalog", "registry")}
