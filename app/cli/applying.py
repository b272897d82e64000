"""The commands that apply a tokens file, and that compute what it needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from app.cli import arguments, output, stdin
from app.cli.groups import tokens
from app.core import tokens as secrets
from app.core.apply import Plan, Step
from app.core.declared import Declarations, InvalidFileError
from app.core.errors import BusyError, StoreUnavailableError, UnknownOutcomeError
from app.core.fields import InvalidFieldsError
from app.core.managed import Applied
from app.core.peppers import Peppers
from app.core.text import visible
from app.services import services
from app.tokens_toml import parse, read

# Longer than a process that was killed keeps its turn.
_PATIENCE_S = 60
_PAUSE_S = 0.2


@tokens.command("apply")
@click.argument("file", required=False)
@click.option("--dry-run", is_flag=True, help="Only print what would change.")
@click.option("--prune", is_flag=True, help="End the managed tokens that are no longer in the file.")
@arguments.as_json
def apply(file: str | None, *, dry_run: bool, prune: bool, as_json: bool) -> None:
    """Create, change and end tokens as FILE declares them, by default TOKENS_FILE, and print each change."""
    declared, settings = _declarations(file), services().settings
    prune = prune or (file is None and settings.tokens_file_prune)
    try:
        if dry_run:
            _print_plan(services().applier.plan(declared.tokens, prune=prune), as_json=as_json)
        else:
            _apply(declared, prune=prune, as_json=as_json)
    except InvalidFileError as error:
        raise _complaint(error) from None


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    for step in plan.steps:
        _print_step(step, as_json=as_json)
    _print_rest(plan, is_done=False, as_json=as_json)


def _apply(declared: Declarations, *, prune: bool, as_json: bool) -> None:
    """Print each change once it is made; raise UnknownOutcomeError if only some could be made."""
    done: list[Step] = []

    def report(step: Step) -> None:
        done.append(step)
        _print_step(step, as_json=as_json)

    try:
        applied = _in_turn(partial(services().applier.apply, declared.tokens, prune=prune, report=report))
    except StoreUnavailableError as error:
        if not done:
            raise
        raise UnknownOutcomeError(f"{error}. What is printed above is done") from None
    _print_rest(applied.plan, is_done=True, as_json=as_json)
    output.warn(applied)


@tokens.command("digest")
@click.option("--new", "is_new", is_flag=True, help="Generate the secret, and print it before its digest.")
@click.option("--weak", is_flag=True, help="Accept a secret that is short enough to be guessed.")
@arguments.as_json
def digest(*, is_new: bool, weak: bool, as_json: bool) -> None:
    """Print the SHA-256 for a tokens file of the secret on standard input, which depends on PEPPER."""
    settings = services().settings
    secret = secrets.mint(settings.token_prefix) if is_new else stdin.read("Secret")
    try:
        secrets.refuse_unusable(secret, settings.token_prefix, allow_weak=weak)
    except ValueError as error:
        raise InvalidFieldsError({"secret": str(error)}) from None
    shown = {"token": secret} if is_new else {}
    shown |= {"sha256": Peppers(settings.pepper).digest(secret)}
    output.result(shown, "\n".join(shown.values()), as_json=as_json)


def _declarations(file: str | None) -> Declarations:
    """Return the tokens of *file*, or of TOKENS_FILE; raise a ClickException if there are none to apply."""
    try:
        if file == "-":
            return parse(stdin.read("TOML"), "standard input", Path())
        declared = services().settings.tokens_file if file is None else read(file)
    except InvalidFileError as error:
        raise _complaint(error) from None
    if declared.is_left_out:
        raise click.ClickException("TOKENS_FILE can't be used; nothing was changed")
    if not declared:
        raise click.UsageError("name a FILE, or set TOKENS_FILE")
    return declared


def _complaint(error: InvalidFileError) -> click.ClickException:
    lines = ["the file can't be used; nothing was changed:", *str(error).splitlines()]
    return click.ClickException("\n  ".join(map(visible, lines)))


def _in_turn(run: Callable[[], Applied]) -> Applied:
    """Return what *run* returns, which waits for its turn; raise BusyError if that takes too long."""
    until, is_told = time.monotonic() + _PATIENCE_S, False
    while True:
        try:
            return run()
        except BusyError as error:
            if time.monotonic() > until:
                raise
            if not is_told:
                click.echo(f"{error}; waiting", err=True)
            is_told = True
        time.sleep(_PAUSE_S)


def _print_step(step: Step, *, as_json: bool) -> None:
    output.result(step.described(), str(step), as_json=as_json)


def _print_rest(plan: Plan, *, is_done: bool, as_json: bool) -> None:
    """Print what else there is to know, on standard error if standard output is for programs."""
    for note in plan.notes:
        click.echo(visible(f"  {note}"), err=as_json)
    click.echo(plan.summary(is_done=is_done), err=as_json)
