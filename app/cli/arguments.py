"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from app.core import durations
from app.core.fields import FIELDS, Field, InvalidFieldsError

Function = Callable[..., None]

NEVER = "never"
# What may be typed for a field of seconds, and the option that takes it as a duration.
_SPANS = {"ttl_seconds": "ttl", "grace_seconds": "grace"}

tokens = click.argument("names", metavar="TOKEN...", nargs=-1, required=True)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
quiet = click.option(
    "-q", "--quiet", is_flag=True, help="Print nothing but the secret, even at a terminal; warnings remain."
)
ttl = click.option(
    "--ttl",
    metavar="DURATION",
    help="Lifetime from now on, such as 30d, 12h or 1h30m (s, m, h, d, w), or never.",
)
grace = click.option(
    "--grace",
    metavar="DURATION",
    help="How long the old secret stays valid, up to a week, such as 1h or 2d; by default 0.",
)
grace_seconds = click.option("--grace-seconds", metavar="SECONDS", help="The same in seconds.")


def fields(*names: str) -> Callable[[Function], Function]:
    """Add an option for each of the fields *names*; an omitted option is not passed on."""

    def add(command: Function) -> Function:
        for name in reversed(names):
            command = click.option(f"--{name.replace('_', '-')}", name, help=_help(FIELDS[name]))(command)
        return ttl(command)

    return add


def _help(field: Field) -> str:
    takes = str(field.kind)
    return f"{field.meaning()}. {takes[0].upper()}{takes[1:]}.".replace("`", "")


def given(options: Mapping[str, str | None]) -> dict[str, str]:
    """Return what was typed in the *options* that were given, with durations in seconds.

    Raises InvalidFieldsError.
    """
    typed = {name: value for name, value in options.items() if value is not None}
    for name, span in _SPANS.items():
        if span in typed:
            if name in typed:
                raise InvalidFieldsError({span: f"set this or {name}, not both"})
            typed[name] = f"{seconds(span, typed.pop(span))}"
    return typed


def seconds(option: str, text: str) -> int:
    """Return the seconds of the duration *text*; 0 is a life without an end, so only 0 and never ask for it.

    Raises InvalidFieldsError.
    """
    if option == "ttl" and text == NEVER:
        return 0
    try:
        span_s = durations.parse(text)
    except ValueError as error:
        raise InvalidFieldsError({option: str(error)}) from None
    if option == "ttl" and not span_s and text != "0":
        raise InvalidFieldsError({option: f"a token without end is asked for with {NEVER}, not {text!r}"})
    return span_s
