"""Parsing and validating a token's fields."""

import dataclasses

import pytest

from app.core.fields import (
    KEPT,
    MAX_GRACE_S,
    MAX_TTL_S,
    ClashingFieldsError,
    InvalidFieldsError,
    Leave,
    TokenSpec,
    parse_edit,
    parse_grace,
    parse_new,
    unknown,
)
from app.core.moments import rfc3339
from devkit.builders import NOW, make_token


def test_whole_spec() -> None:
    """Every field reaches the draft, trimmed and in its stored form."""
    typed = {
        "hosts": " Example.com ",
        "email": " a@b.example",
        "comment": "x y",
        "ttl_seconds": "60",
        "not_before": "2026-11-24T04:03:03Z",
        "rate_limit_max": "0",
        "rate_limit_window_sec": "5",
        "quota_max": "1000000000000",
        "quota_period": " month ",
    }

    draft = parse_new(typed, 0, NOW)

    assert draft.spec == TokenSpec(("example.com",), "a@b.example", "x y", NOW + 1, 0, 5, 10**12, "month")
    assert draft.expires_at == NOW + 60


def test_table_and_spec() -> None:
    """A spec has exactly the fields that are stored, and its defaults are what a blank value means."""
    assert {field.name for field in dataclasses.fields(TokenSpec)} == {field.name for field in KEPT}
    for field in KEPT:
        blank = field.kind.from_record("")
        assert getattr(TokenSpec(()), field.name) == blank
        assert field.is_required or field.kind.parse("") == blank
        assert field.kind.to_record(blank) == field.kind.format(blank) == ""


@pytest.mark.parametrize(
    ("text", "ends"),
    [("", NOW + 3600), ("0", None), ("1", NOW + 1), ("007", NOW + 7), (str(MAX_TTL_S), NOW + MAX_TTL_S)],
)
def test_lifetime(text: str, ends: int | None) -> None:
    """Blank means the service's default and 0 means never; the result is an absolute time."""
    assert parse_new({"hosts": "*", "ttl_seconds": text}, 3600, NOW).expires_at == ends


@pytest.mark.parametrize(
    "text",
    [
        "-5",
        "-0",
        "+5",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "nan",
        "inf",
        "٣٠٠",
        "5 0",
        "9223372036854775808",
        "9" * 400,
        str(MAX_TTL_S + 1),
        "1d",
    ],
)
def test_invalid_lifetime(text: str) -> None:
    """A lifetime that is not plain digits, or is out of range, is refused with the range."""
    with pytest.raises(InvalidFieldsError, match="ttl_seconds: a whole number from 0 to"):
        parse_new({"hosts": "*", "ttl_seconds": text}, 0, NOW)


@pytest.mark.parametrize("text", ["x", "@example.com", "a@", "a b@example.com", "a@b@c", "a@" + "b" * 260])
def test_invalid_email(text: str) -> None:
    """Text that can't be an email address is refused."""
    with pytest.raises(InvalidFieldsError, match="email: not an email address"):
        parse_new({"hosts": "*", "email": text}, 0, NOW)


@pytest.mark.parametrize(
    "char",
    [
        "\x00",
        "\n",
        "\r",
        "\t",
        "\x7f",
        "\x85",
        "\u200b",
        "\u202e",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\U000e0001",
    ],
)
@pytest.mark.parametrize("name", ["comment", "email"])
def test_invisible_characters(name: str, char: str) -> None:
    """Characters that are invisible, reorder text or are not text are refused and named."""
    with pytest.raises(
        InvalidFieldsError, match=rf"{name}: contains the unprintable character U\+{ord(char):04X}"
    ):
        parse_new({"hosts": "*", name: f"a{char}b@example.com"}, 0, NOW)


@pytest.mark.parametrize(
    "comment",
    [
        "family \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
        "\u2764\ufe0f\u200d\U0001f525",
        "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f9d1\U0001f3fd\u200d\U0001f4bb",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0647\u200d. \u0915\u094d\u200d\u0937",
        "1\ufe0f\u20e3 \u8fbb\U000e0101",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "\U0001f3f4\u200d\u2620\ufe0f",
        "\u0600\u0661 \uf8ff \U0001fae9",
        "na\u00efve \u05e9\u05dc\u05d5\u05dd",
        "\u182d\u180b\u1820 a\u034f\u0308 \u1780\u17b6",
    ],
)
def test_natural_text(comment: str) -> None:
    """Joiners and selectors of scripts and emoji, and characters newer than Python's tables, are accepted."""
    assert parse_new({"hosts": "*", "comment": f" {comment} "}, 0, NOW).spec.comment == comment


@pytest.mark.parametrize(
    "comment",
    [
        *("\u200d", "\u200c\u200d", "\ufe0f", "\u200da", "a\u200d\u200d", "a\u200c\u200d", "a\ufe0f\ufe0f"),
        *(
            "a\u200d\ufe0f",
            "a\U000e0100\U000e0101",
            "\u3164",
            "\uffa0",
            "a\xad",
            "a\u2060b",
            "a\u2066b\u2069",
        ),
        *("\u061c", "\u200e", "\u180e", "\ufff9", "\ufffd", "\U0001f3f4\U000e0061\U000e007f", "a\U000e0001"),
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067",
        *("a\u115f", "\u1160", "a\u17b4", "\u17b5", "a\u2800", "\U0001d159", "\U0001fffe", "\U0010ffff"),
        *("\u180b", "a\u180b\u180c", "\u034f", "a\u034f\u034f"),
    ],
)
def test_text_that_hides_or_reorders(comment: str) -> None:
    """Text that is empty to the eye, hides or reorders characters, or has a stray joiner is refused."""
    with pytest.raises(InvalidFieldsError, match=r"comment: contains the unprintable character U\+"):
        parse_new({"hosts": "*", "comment": comment}, 0, NOW)


@pytest.mark.parametrize("email", ["a\u200cb@example.com", "a@exam\u200dple.com", "a\ufe0f@example.com"])
def test_email_has_no_joiners(email: str) -> None:
    """An email address has no joiners, because people compare it by eye."""
    with pytest.raises(InvalidFieldsError, match="email: not an email address"):
        parse_new({"hosts": "*", "email": email}, 0, NOW)


def test_comment_length() -> None:
    """The length of a comment is limited."""
    assert parse_new({"hosts": "*", "comment": "ü" * 500}, 0, NOW).spec.comment == "ü" * 500
    with pytest.raises(InvalidFieldsError, match="comment: at most 500 characters, not 501"):
        parse_new({"hosts": "*", "comment": "ü" * 501}, 0, NOW)


def test_all_problems_at_once() -> None:
    """Every invalid field is reported at once, as is an unknown name, which may be a typo."""
    with pytest.raises(InvalidFieldsError) as caught:
        parse_new({"hosts": "", "ttl_seconds": "x", "ttl": "60"}, 0, NOW)

    assert set(caught.value.problems) == {"hosts", "ttl_seconds", "ttl"}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24T04:03:02Z", NOW),
        ("2026-11-24 04:03:02", NOW),
        ("2026-11-24T06:03:02+02:00", NOW),
        ("2026-11-24T04:03", NOW - 2),
        ("2026-11-24", 1_795_478_400),
        ("2026-11-24t04:03:02z", NOW),
        ("2026-11-24T04:03:02.999999999999Z", NOW),
        ("2026-11-24T04:03:01.5+00:00", NOW - 1),
        ("2026-11-23T20:03:02-08:00", NOW),
        ("2016-12-31T23:59:60Z", 1_483_228_800),
        ("2016-12-31T15:59:60.25-08:00", 1_483_228_800),
        ("2028-02-29", 1_835_395_200),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139),
    ],
)
def test_moment(text: str, moment: int) -> None:
    """A time without a zone is UTC, and a date without a time is midnight."""
    assert parse_new({"hosts": "*", "not_before": text}, 0, NOW).spec.not_before == moment


@pytest.mark.parametrize(
    "text",
    [
        "tomorrow",
        "1795492982",
        "2026-13-01",
        "2026-02-30",
        "24.11.2026",
        "2026-11-24T25:00",
        "20261124",
        "2026-11-24Z",
        "2026-11-24T04Z",
        "2026-11-24T04:03:61Z",
        "2026-11-24T04:03:02.Z",
        "2026-11-24T04:03:02+24:00",
        "2026-11-24T04:03:02+0100",
        "2027-02-29",
        "2100-02-29",
        "0000-01-01",
        "10000-01-01",
        "2026-11-24TT04:03",
        "٢٠٢٦-11-24",
    ],
)
def test_invalid_moment(text: str) -> None:
    """An invalid time is refused with an example."""
    with pytest.raises(InvalidFieldsError, match="not_before: a moment such as 2030-01-31"):
        parse_new({"hosts": "*", "not_before": text}, 0, NOW)


def test_expiry_as_a_moment() -> None:
    """The expiry may be given as a time instead of a lifetime in seconds."""
    assert parse_new({"hosts": "*", "expires_at": "2026-11-24T04:04:02Z"}, 0, NOW).expires_at == NOW + 60


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"expires_at": "2026-11-24T04:03:02Z"}, "expires_at"),
        ({"expires_at": "2020-01-01"}, "expires_at"),
        ({"expires_at": "2999-01-01"}, "expires_at"),
        ({"expires_at": "2030-01-01", "ttl_seconds": "5"}, "expires_at"),
        ({"ttl_seconds": "60", "not_before": "2026-11-24T04:04:02Z"}, "not_before"),
        ({"rate_limit_max": "10001"}, "rate_limit_max"),
        ({"rate_limit_max": "-1"}, "rate_limit_max"),
        ({"rate_limit_max": "9" * 30}, "rate_limit_max"),
        ({"rate_limit_window_sec": "0"}, "rate_limit_window_sec"),
        ({"rate_limit_window_sec": "1.5"}, "rate_limit_window_sec"),
        ({"quota_max": "-1", "quota_period": "day"}, "quota_max"),
        ({"quota_max": "1000000000001", "quota_period": "day"}, "quota_max"),
        ({"quota_max": f"{10**15}", "quota_period": "day"}, "quota_max"),
        ({"quota_max": "5", "quota_period": "week"}, "quota_period"),
        ({"quota_max": "5", "quota_period": "DAY"}, "quota_period"),
        ({"quota_max": "5"}, "quota_period"),
        ({"quota_period": "day"}, "quota_max"),
        ({"quota_max": "", "quota_period": "week"}, "quota_period"),
    ],
)
def test_invalid_combinations(typed: dict[str, str], field: str) -> None:
    """An expiry in the past, a start after the expiry and limits out of range are refused by name."""
    with pytest.raises(InvalidFieldsError) as caught:
        parse_new({"hosts": "*"} | typed, 0, NOW)

    assert set(caught.value.problems) == {field}


def test_partial_edit() -> None:
    """An edit keeps the fields it does not name and clears those it names blank, except the lifetime."""
    token = make_token(email="a@b.example", comment="c", rate_limit_max=5, expires_at=NOW + 60)

    draft = parse_edit(token, {"comment": "", "rate_limit_max": "", "ttl_seconds": ""}, NOW)

    assert draft.spec == TokenSpec(("example.com",), "a@b.example")
    assert draft.expires_at is Leave.LEAVE


@pytest.mark.parametrize(
    "typed",
    [{"hosts": ""}, {"not_before": "2027-01-01"}, {"ttl_seconds": "1", "not_before": "2026-11-24T04:03:03Z"}],
)
def test_invalid_edit(typed: dict[str, str]) -> None:
    """An edit is validated together with the fields that it keeps."""
    with pytest.raises(InvalidFieldsError):
        parse_edit(make_token(expires_at=NOW + 60), typed, NOW)


@pytest.mark.parametrize(
    ("typed", "after"),
    [
        ({"comment": "x"}, (5, "day")),
        ({"quota_max": "7"}, (7, "day")),
        ({"quota_period": "month"}, (5, "month")),
        ({"quota_max": ""}, (None, None)),
        ({"quota_max": "0"}, (0, None)),
        ({"quota_max": "", "quota_period": ""}, (None, None)),
        ({"quota_max": " ", "quota_period": "day"}, (None, None)),
        ({"quota_max": "0", "quota_period": "month"}, (0, None)),
    ],
)
def test_edit_of_a_quota(typed: dict[str, str], after: object) -> None:
    """Either half of a quota may change alone, and clearing the number clears the period, even one sent."""
    spec = parse_edit(make_token(quota_max=5, quota_period="day"), typed, NOW).spec

    assert (spec.quota_max, spec.quota_period) == after


@pytest.mark.parametrize(("typed", "kept"), [("", None), ("0", 0)])
def test_new_token_without_a_quota(typed: str, kept: int | None) -> None:
    """A number of 0 or blank is no quota, whatever period is sent along."""
    spec = parse_new({"hosts": "*", "quota_max": typed, "quota_period": "day"}, 0, NOW).spec

    assert (spec.quota_max, spec.quota_period) == (kept, None)


@pytest.mark.parametrize(
    ("most", "typed", "missing"),
    [
        (5, {"quota_period": ""}, "quota_period"),
        (5, {"quota_max": "7", "quota_period": ""}, "quota_period"),
        (None, {"quota_period": "day"}, "quota_max"),
        (None, {"quota_max": "7"}, "quota_period"),
    ],
)
def test_half_of_a_quota(most: int | None, typed: dict[str, str], missing: str) -> None:
    """An edit that would leave half of a quota is refused, and names the half that is missing."""
    with pytest.raises(ClashingFieldsError) as caught:
        parse_edit(make_token(quota_max=most, quota_period=most and "day"), typed, NOW)

    assert {*caught.value.problems} == {missing}


def test_period_that_others_left() -> None:
    """A period without a number, which only others write, hinders no edit."""
    spec = parse_edit(make_token(quota_period="day"), {"comment": "x"}, NOW).spec

    assert (spec.quota_max, spec.quota_period) == (None, None)


def test_edit_to_no_expiry() -> None:
    """A lifetime of 0 means no expiry, so any start is valid."""
    typed = {"ttl_seconds": "0", "not_before": "2027-01-01"}
    assert parse_edit(make_token(expires_at=NOW + 60), typed, NOW).expires_at is None


BOUND = 3600
LATE, LATEST = "2026-11-24T05:03:03Z", "2026-11-24T05:03:02Z"


@pytest.mark.parametrize(
    ("typed", "ends"),
    [
        ({}, NOW + 60),
        ({"ttl_seconds": "", "expires_at": ""}, NOW + 60),
        ({"ttl_seconds": "3600"}, NOW + BOUND),
        ({"expires_at": LATEST}, NOW + BOUND),
    ],
)
def test_end_within_the_bound(typed: dict[str, str], ends: int) -> None:
    """A token may live as long as the bound; without an end it has the default."""
    assert parse_new({"hosts": "*"} | typed, 60, NOW, BOUND).expires_at == ends


BEYOND = [
    ({"ttl_seconds": "3601"}, "ttl_seconds"),
    ({"ttl_seconds": "0"}, "ttl_seconds"),
    ({"ttl_seconds": "0", "expires_at": ""}, "ttl_seconds"),
    ({"expires_at": LATE}, "expires_at"),
    ({"expires_at": "2030-01-31"}, "expires_at"),
]


@pytest.mark.parametrize(("typed", "field"), BEYOND)
@pytest.mark.parametrize("ends", [None, NOW + 10 * BOUND, NOW + 60])
def test_end_beyond_the_bound(typed: dict[str, str], field: str, ends: int | None) -> None:
    """Neither a new token nor an edit gets an end beyond the bound; the problem names field and bound."""
    token = make_token(expires_at=ends)
    with pytest.raises(InvalidFieldsError) as new:
        parse_new({"hosts": "*"} | typed, 60, NOW, BOUND)
    assert new.value.problems == {field: "at most 3600 seconds from now on, which is MAX_TTL_SECONDS"}

    if ends or field == "expires_at":  # the end of a token that never ends may stay as it is
        with pytest.raises(InvalidFieldsError) as edit:
            parse_edit(token, typed, NOW, BOUND)
        assert edit.value.problems == new.value.problems


@pytest.mark.parametrize("ends", [None, NOW + 10 * BOUND])
def test_edit_keeps_an_end_beyond_the_bound(ends: int | None) -> None:
    """A token that lived longer before there was a bound keeps its end, left out or sent as it is."""
    token = make_token(expires_at=ends)
    as_shown = {"expires_at": rfc3339(ends)} if ends else {"ttl_seconds": "0"}

    assert parse_edit(token, {"comment": "x"}, NOW, BOUND).expires_at is Leave.LEAVE
    assert parse_edit(token, {"comment": "x"} | as_shown, NOW, BOUND).expires_at == ends
    assert parse_edit(token, {"ttl_seconds": "3600"}, NOW, BOUND).expires_at == NOW + BOUND


def test_grace() -> None:
    """A grace period is a whole number of seconds, at most a week; blank is 0."""
    assert [parse_grace(text) for text in ("", "0", " 60 ", str(MAX_GRACE_S))] == [0, 0, 60, MAX_GRACE_S]


@pytest.mark.parametrize("text", ["-1", "1.5", str(MAX_GRACE_S + 1), "1h", "٣"])
def test_invalid_grace(text: str) -> None:
    """Any other grace period is refused by name."""
    with pytest.raises(InvalidFieldsError, match="grace_seconds: a whole number from 0 to 604800"):
        parse_grace(text)


def test_unknown_names() -> None:
    """Of thousands of unknown names only the first few are reported."""
    problems = unknown((f"name{number}" for number in range(5_000)), ["a", "b"])

    assert [*problems] == [f"name{number}" for number in range(20)]
    assert {*problems.values()} == {"unknown field; known are a, b"}
