"""The commands that list and show tokens."""

from __future__ import annotations

import click

from app.cli import arguments, blocks, output, rows, several
from app.cli.groups import tokens
from app.core.tokens import Token
from app.services import services


@tokens.command("list")
@click.option("--host", help="Only those that open this host, or list this pattern, such as '*.example.com'.")
@click.option("--status", type=click.Choice(["ended"]), help="Those that ended in the last 30 days instead.")
@arguments.as_json
def list_(host: str | None, status: str | None, *, as_json: bool) -> None:
    """List all tokens, newest first, or those that ended, the last to end first."""
    catalog, now_s = services().catalog, services().registry.now_s
    if status:
        rows.print_ended(catalog.all_ended(host), now_s, as_json=as_json)
        return
    rows.print_tokens(catalog.all() if host is None else catalog.opening(host), now_s, as_json=as_json)


@tokens.command("show")
@arguments.tokens
@arguments.as_json
def show(names: tuple[str, ...], *, as_json: bool) -> None:
    """Show tokens with their restrictions, limits, quota and usage in the last 24 hours."""
    several.each(names, lambda token: _show(token, as_json=as_json))


def _show(token: Token, *, as_json: bool) -> None:
    now_s = services().registry.now_s
    usage, quota = services().catalog.usage(token, now_s), token.quota(now_s)
    if as_json:
        more = {"usage": usage.described(), "quota": quota.described() if quota else None}
        output.json_line(token.described(now_s) | more)
    else:
        click.echo("\n".join(blocks.of_token(token, usage, services().settings, now_s)))
