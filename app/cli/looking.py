"""The commands that list and show tokens."""

from __future__ import annotations

import json

import click

from app.cli import arguments, rows
from app.cli.complaints import complaints
from app.cli.groups import tokens
from app.core.usage import total
from app.services import services


@tokens.command("list")
@click.option("--host", help="Only those that open this host, or list this pattern, such as '*.example.com'.")
@click.option("--status", type=click.Choice(["ended"]), help="Those that ended in the last 30 days instead.")
@arguments.as_json
def list_(host: str | None, status: str | None, *, as_json: bool) -> None:
    """List all tokens, newest first, or those that ended, the last to end first."""
    with complaints():
        catalog, now_s = services().catalog, services().registry.now_s
        if status:
            for ended in catalog.all_ended(host):
                click.echo(json.dumps(ended.described()) if as_json else rows.of_ended(ended))
            return
        for token in catalog.all() if host is None else catalog.opening(host):
            click.echo(json.dumps(token.described(now_s)) if as_json else rows.of_token(token, now_s))


@tokens.command("show")
@arguments.token
def show(name: str) -> None:
    """Show a token, its usage in the last 24 hours and its quota."""
    with complaints():
        token, now_s = arguments.find(name), services().registry.now_s
        day, quota = total(services().catalog.usage(token, now_s).hours[-24:]), token.quota(now_s)
    used = {"allowed_24h": day.allowed, "refused_24h": day.refused, "quota": quota and quota.described()}
    click.echo(json.dumps(token.described(now_s) | used, indent=2))
