"""``flask tokens …``: what the admin pages do, for a shell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from app.core.fields import InvalidFieldsError, parse_spec
from app.core.registry import NoSuchTokenError, StoreUnavailableError
from app.core.tokens import Token
from app.services import services

tokens = AppGroup("tokens", help="Create, list, show and delete tokens.")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


@tokens.command("create")
@click.argument("hosts", nargs=-1, required=True)
@click.option("--email", default="", help="Whom it belongs to; handed to the backend.")
@click.option("--comment", default="", help="What it is for; handed to the backend.")
@click.option("--ttl-seconds", default="", help="Lifetime; 0 is for ever, default TOKEN_TTL_SECONDS.")
@_as_json
def create(hosts: tuple[str, ...], email: str, comment: str, ttl_seconds: str, *, as_json: bool) -> None:
    """Make a token for HOSTS and print its text, this one time."""
    typed = {"hosts": ",".join(hosts), "email": email, "comment": comment, "ttl_seconds": ttl_seconds}
    with _complaints():
        spec = parse_spec(typed, services().settings.token_ttl_seconds)
        token, text = services().registry.issue(spec)
    click.echo(json.dumps({"token": text, **_fields(token)}) if as_json else text)


@tokens.command("list")
@_as_json
def list_(*, as_json: bool) -> None:
    """List all tokens, newest first."""
    with _complaints():
        for token in services().registry.all():
            click.echo(json.dumps(_fields(token)) if as_json else _line(token))


@tokens.command("show")
@click.argument("token")
def show(token: str) -> None:
    """Show the token with that id, SHA-256 or text."""
    with _complaints():
        click.echo(json.dumps(_fields(services().registry.find(token)), indent=2))


@tokens.command("delete")
@click.argument("token")
def delete(token: str) -> None:
    """Delete the token with that id, SHA-256 or text for good."""
    with _complaints():
        click.echo(f"deleted {services().registry.delete(token).id}")


@contextmanager
def _complaints() -> Iterator[None]:
    try:
        yield
    except (InvalidFieldsError, NoSuchTokenError) as error:
        raise click.ClickException(str(error)) from None
    except StoreUnavailableError as error:
        raise click.ClickException(f"Redis is unavailable: {error}") from None


def _fields(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "hosts": list(token.hosts),
        "email": token.email,
        "comment": token.comment,
        "status": token.status,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "sha256": token.digest,
    }


def _line(token: Token) -> str:
    expires = (
        "never"
        if token.expires_at is None
        else f"{datetime.fromtimestamp(token.expires_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    )
    return "\t".join([token.id, token.status, expires, ",".join(token.hosts), token.email, token.comment])


def shell_context() -> dict[str, Any]:
    """Return what ``flask shell`` has at hand."""
    made = services()
    return {"settings": made.settings, "gate": made.gate, "registry": made.registry}
