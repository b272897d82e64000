"""The table of a token's fields, and the parsing of an operator's input into values or problems.

Everything else about a field is derived from this table: the form, the JSON API and its description, the
options of the commands, the records in Redis, and the table in the documents. A new optional text field is
one entry in FIELDS and one attribute of TokenSpec. See docs/decisions/0019 and 0023.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import Any

from app.core import quotas
from app.core.choices import Choice
from app.core.kinds import Email, Kind, Lifetime, Moment, Number, Text
from app.core.limits import MAX_REQUESTS, MAX_WINDOW_S
from app.core.list_kinds import Hosts, Methods, Networks, Paths

MAX_TTL_S = 100 * 365 * 86_400
MAX_GRACE_S = 7 * 86_400
_MAX_UNKNOWN = 20

# The parameter of a rotation; it is not a field of a token.
GRACE = Number(0, MAX_GRACE_S)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a token, under the name that it has everywhere.

    *help* is a phrase in Markdown; in the form *hint* replaces it. A blank value means that of *setting*,
    if there is one. Neither a field nor its *partner* is set without the other. *fold* is the title of the
    collapsed part of the form that has the field. A field that is not kept is not stored in the record: the
    expiry of a token is the TTL of its key.
    """

    name: str
    label: str
    kind: Kind
    help: str
    hint: str = ""
    setting: str = ""
    partner: str = ""
    needs: str = ""
    fold: str = ""
    is_kept: bool = True
    is_required: bool = False

    @property
    def blank(self) -> str:
        """Return what changes show in place of no value."""
        return "the default" if self.setting else "none"

    def meaning(self, blank: str = "blank") -> str:
        """Return the meaning of the field, and of 0 and *blank*, which JSON calls null."""
        zero = f"0 is {self.kind.zero}" if isinstance(self.kind, Number) and self.kind.zero else ""
        default = f"{blank} is `{self.setting.upper()}`" if self.setting else ""
        if default and not self.is_kept:
            default += ", or no change in an edit"
        return "; ".join(filter(None, [self.help, zero, default]))


# In the order of the form.
FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        Field(
            "hosts",
            "Hosts",
            Hosts(),
            "`example.com` is that host alone, `*.example.com` all hosts below it, `*` every host",
            is_required=True,
        ),
        Field("comment", "Comment", Text(500), "What it is for. Sent to the backend as `X-Auth-Comment`"),
        Field("email", "Email", Email(254), "Who uses it. Sent to the backend as `X-Auth-Email`"),
        Field(
            "ttl_seconds",
            "Expires after",
            Lifetime(0, MAX_TTL_S, zero="never"),
            "Seconds from now until it expires, instead of `expires_at`; `MAX_TTL_SECONDS` bounds both",
            setting="token_ttl_seconds",
            is_kept=False,
        ),
        Field(
            "expires_at",
            "Expires at",
            Moment(),
            "When it expires, instead of `ttl_seconds`",
            is_kept=False,
        ),
        Field(
            "rate_limit_max",
            "Requests",
            Number(0, MAX_REQUESTS, zero="unlimited"),
            "Requests per window",
            setting="rate_limit_max",
        ),
        Field(
            "rate_limit_window_sec",
            "Window",
            Number(1, MAX_WINDOW_S),
            "Seconds of the window",
            setting="rate_limit_window_sec",
        ),
        Field(
            "quota_max",
            "Quota",
            Number(0, quotas.MAX_REQUESTS, zero="none"),
            "Requests per calendar day or month, beside the rate limit",
            partner="quota_period",
        ),
        Field(
            "quota_period",
            "Quota per",
            Choice(quotas.PERIODS),
            "The period of the quota, in UTC",
            hint="When the quota resets, at midnight UTC",
            partner="quota_max",
        ),
        Field(
            "methods",
            "Methods",
            Methods(),
            "What it may do, such as `GET`, which allows `HEAD` too; blank is every method",
            fold="Restrictions",
        ),
        Field(
            "paths",
            "Paths",
            Paths(),
            "`/v1/models` is that path alone, `/v1/*` is `/v1/` and all below it; blank is every path",
            fold="Restrictions",
        ),
        Field(
            "networks",
            "Networks",
            Networks(),
            "Where clients may be, such as `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`; blank is anywhere. "
            "Needs `TRUSTED_PROXIES`",
            needs="trusted_proxies",
            fold="Restrictions",
        ),
        Field(
            "not_before",
            "Not before",
            Moment(),
            "When it becomes valid",
            hint="When it becomes valid, in UTC",
            fold="Later start",
        ),
    )
}
# The second field of a row in the form, by the first; each means something else beside another value.
ROWS = {"ttl_seconds": "expires_at", "rate_limit_max": "rate_limit_window_sec", "quota_max": "quota_period"}
KEPT = tuple(field for field in FIELDS.values() if field.is_kept)


@dataclass(frozen=True, slots=True)
class TokenSpec:
    """The stored fields of a token; None means that the service's default applies."""

    hosts: tuple[str, ...]
    email: str = ""
    comment: str = ""
    not_before: int | None = None
    rate_limit_max: int | None = None
    rate_limit_window_sec: int | None = None
    quota_max: int | None = None
    quota_period: str | None = None
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms(TokenSpec):
    """The stored fields of a token and its expiry, in seconds since the epoch; None is never."""

    expires_at: int | None = None


def values(spec: TokenSpec) -> dict[str, Any]:
    """Return the values of *spec* by the names of their fields."""
    return {field.name: getattr(spec, field.name) for field in KEPT}


def formatted(spec: TokenSpec) -> dict[str, str]:
    """Return the values of *spec* as an operator may type them again."""
    return {field.name: field.kind.format(getattr(spec, field.name)) for field in KEPT}


class InvalidFieldsError(ValueError):
    """Some fields can't be used; *problems* maps each one's name to what is wrong and what to do."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = dict(problems)


class ClashingFieldsError(InvalidFieldsError):
    """Each field is valid on its own, but not together with the others or with the token's stored ones."""


class Leave(Enum):
    """The marker for an expiry that an edit leaves unchanged."""

    LEAVE = auto()


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec and its expiry, in seconds since the epoch; None is never."""

    spec: TokenSpec
    expires_at: int | Leave | None


def parse_new(
    typed: Mapping[str, str],
    default_ttl_s: int,
    now_s: int,
    max_ttl_s: int = 0,
    unset: AbstractSet[str] = frozenset(),
) -> Draft:
    """Return the draft of a new token from what was *typed*; raise InvalidFieldsError for every bad field.

    It ends at most *max_ttl_s* from *now_s*; 0 is no bound. *unset* are the names of the settings that have
    no value.
    """
    parsed, problems = _parse(typed, FIELDS)
    problems |= _useless(parsed, unset)
    end = _end(parsed, problems, now_s)
    if end is not Leave.LEAVE:
        _refuse_beyond(max_ttl_s, end, parsed, problems, now_s)
    expires_at = _after(default_ttl_s, now_s) if end is Leave.LEAVE else end
    return _draft(parsed, problems, expires_at, expires_at)


def parse_edit(
    token: Terms,
    typed: Mapping[str, str],
    now_s: int,
    max_ttl_s: int = 0,
    unset: AbstractSet[str] = frozenset(),
) -> Draft:
    """Return the draft of *token* after an edit, which keeps what *typed* leaves out.

    A new end is at most *max_ttl_s* from *now_s*, 0 being no bound; the end that the token has may be later.
    *unset* are the names of the settings that have no value. Raises InvalidFieldsError.
    """
    changed, problems = _parse(typed, [name for name in FIELDS if name in typed])
    kept = values(token)
    problems |= _useless({name: value for name, value in changed.items() if value != kept.get(name)}, unset)
    end = _end(changed, problems, now_s)
    if end not in (Leave.LEAVE, token.expires_at):
        _refuse_beyond(max_ttl_s, end, changed, problems, now_s)
    ends_at = token.expires_at if end is Leave.LEAVE else end
    return _draft(_edited(token, changed), problems, end, ends_at)


def parse_grace(typed: str) -> int:
    """Return the seconds that a replaced secret stays valid, at most a week; raise InvalidFieldsError."""
    try:
        return GRACE.parse(typed) or 0
    except ValueError as error:
        raise InvalidFieldsError({"grace_seconds": str(error)}) from None


def unknown(sent: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return a problem for each name in *sent* that is not *known*, for the first 20 of them."""
    names = tuple(known)
    problem = f"unknown field; known {'are' if len(names) > 1 else 'is'} {', '.join(names)}"
    return dict.fromkeys(islice((name for name in sent if name not in names), _MAX_UNKNOWN), problem)


def _parse(typed: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values and the problems of the fields *names*; a quota of none has no period."""
    problems, parsed = unknown(typed, FIELDS), {}
    for name in names:
        try:
            parsed[name] = FIELDS[name].kind.parse(typed.get(name, ""))
        except ValueError as error:
            problems[name] = str(error)
    if "quota_max" in typed and not parsed.get("quota_max", 1):
        parsed["quota_period"] = None
    return parsed, problems


def _edited(token: Terms, changed: dict[str, Any]) -> dict[str, Any]:
    """Return the values of *token* after *changed*, without the period of no quota."""
    kept = values(token)
    if not changed.get("quota_max", token.quota_max):
        kept["quota_period"] = None
    return kept | changed


def _useless(parsed: Mapping[str, Any], unset: AbstractSet[str]) -> dict[str, str]:
    """Return what is wrong with values that can't have their effect while the settings *unset* have none."""
    needed = {name: FIELDS[name].needs for name, value in parsed.items() if value}
    return {
        name: f"set {setting.upper()} first; without it the token would be refused everywhere"
        for name, setting in needed.items()
        if setting in unset
    }


def _end(parsed: Mapping[str, Any], problems: dict[str, str], now_s: int) -> int | Leave | None:
    """Return the requested expiry as one moment, None for never; add to *problems* if it is invalid."""
    ttl_s, expires_at = parsed.get("ttl_seconds"), parsed.get("expires_at")
    if expires_at is None:
        return Leave.LEAVE if ttl_s is None else _after(ttl_s, now_s)
    if ttl_s is not None:
        problems["expires_at"] = "set this or ttl_seconds, not both"
    elif not now_s < expires_at <= now_s + MAX_TTL_S:
        problems["expires_at"] = "a moment in the future, within a hundred years"
    return int(expires_at)


def _refuse_beyond(
    max_ttl_s: int, end: int | Leave | None, parsed: Mapping[str, Any], problems: dict[str, str], now_s: int
) -> None:
    """Add a problem if *end*, which *parsed* asks for, is later than *max_ttl_s* from *now_s*."""
    if max_ttl_s and (not isinstance(end, int) or end > now_s + max_ttl_s):
        name = "ttl_seconds" if parsed.get("expires_at") is None else "expires_at"
        problems.setdefault(name, f"at most {max_ttl_s} seconds from now on, which is MAX_TTL_SECONDS")


def _after(ttl_s: int, now_s: int) -> int | None:
    return now_s + ttl_s if ttl_s else None


def _draft(
    parsed: dict[str, Any], problems: dict[str, str], expires_at: int | Leave | None, ends_at: int | None
) -> Draft:
    """Return the draft of a token that will end at *ends_at*; raise InvalidFieldsError."""
    if problems:
        raise InvalidFieldsError(problems)
    starts = parsed.get("not_before")
    if starts and ends_at and starts >= ends_at:
        raise ClashingFieldsError({"not_before": "after the token's expiry"})
    if missing := [field for field in KEPT if field.partner and _is_missing(field, parsed)]:
        problem = "needed with {}; set both or neither"
        raise ClashingFieldsError({field.name: problem.format(field.partner) for field in missing})
    return Draft(TokenSpec(**{field.name: parsed[field.name] for field in KEPT}), expires_at)


def _is_missing(field: Field, parsed: Mapping[str, Any]) -> bool:
    return bool(parsed[field.partner]) and not parsed[field.name]
