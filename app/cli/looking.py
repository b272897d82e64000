"""The commands that list and show tokens."""

from __future__ import annotations

import click

from app.cli import arguments, blocks, filters, output, progress, rows, several
from app.cli.groups import tokens
from app.core.listing import NEWEST_FIRST, ORDERS, Order
from app.core.tokens import Token
from app.services import services


@tokens.command("list")
@filters.options
@click.option("--sort", type=click.Choice(ORDERS), help=f"The order, by default {NEWEST_FIRST}.")
@arguments.as_json
def list_(*, sort: str | None, as_json: bool, **options: str | None) -> None:
    """List tokens, newest first, or those that ended, the last to end first."""
    catalog, now_s = services().catalog, services().registry.now_s
    if options["status"] == filters.ENDED:
        query = filters.query_of_ended(options, is_sorted=sort is not None)
        rows.print_ended(catalog.all_ended(query), now_s, as_json=as_json)
        return
    choice, order = filters.chosen(options), Order.parse(sort) if sort else NEWEST_FIRST
    found = progress.watched(catalog.all_pages(choice.filter, order), order)
    rows.print_tokens((token for token in found if choice.admits(token, now_s)), now_s, as_json=as_json)


@tokens.command("show")
@arguments.tokens
@arguments.as_json
def show(names: tuple[str, ...], *, as_json: bool) -> None:
    """Show tokens with their restrictions, limits, quota and usage in the last 24 hours."""
    between = "\n" if names[1:] else ""
    several.each(names, lambda token: _show(token, between, as_json=as_json), is_change=False)


def _show(token: Token, between: str, *, as_json: bool) -> None:
    now_s = services().registry.now_s
    usage = services().catalog.usage(token, now_s)
    if as_json:
        output.json_line(token.described_with(usage, now_s))
    else:
        click.echo("\n".join(blocks.of_token(token, usage, services().settings, now_s)) + between)
