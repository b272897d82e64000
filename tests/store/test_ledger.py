"""The decisions of the ledger's single EVALSHA."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.core.limits import Limit
from app.core.verdicts import Identity, Verdict
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from devkit.builders import candidates

DIGEST = "ab" * 32
RECORD, WINDOW = keys.record(DIGEST), keys.window(DIGEST)
HOST = candidates(hosts=("example.com", "*.com", "*"))


def ledger(client: Any, max_requests: int = 3, window_s: int = 60) -> RedisLedger:
    """Return a ledger with the given default limit."""
    return RedisLedger(client, PepperCheck(client, ["f"]), Limit(max_requests, window_s), deadline_s=2)


def now_us(client: Any) -> int:
    """Return the server's time in microseconds."""
    seconds, microseconds = client.time()
    return int(seconds) * 1_000_000 + int(microseconds)


def test_unknown_token(client: Any) -> None:
    """A token without a record is unknown, and nothing is written to Redis."""
    assert ledger(client).take([DIGEST], HOST).verdict is Verdict.UNKNOWN_TOKEN
    assert client.keys("*tokens:*") == []


def test_allowed_token(client: Any) -> None:
    """A token that lists the host is allowed, with its identity."""
    client.hset(RECORD, mapping={"hosts": "example.com", "id": "i", "email": "e", "comment": "c"})

    decision = ledger(client).take([DIGEST], HOST)

    assert decision.verdict is Verdict.ALLOWED
    assert decision.identity == Identity(b"i", b"e", b"c")


@pytest.mark.parametrize(
    "hosts",
    [
        "example.com",
        "a.org,example.com",
        "*.com",
        "*",
        "Example.COM",
        "a.org, example.com",
        "\texample.com ,",
    ],
)
def test_allowed_host_lists(client: Any, hosts: str) -> None:
    """Any listed pattern is enough, in the formats that older deployments wrote, too."""
    client.hset(RECORD, "hosts", hosts)

    assert ledger(client).take([DIGEST], HOST).verdict is Verdict.ALLOWED


@pytest.mark.parametrize(
    "hosts",
    [
        "",
        " ",
        ",",
        " , ",
        "example.co",
        "xample.com",
        "example.comm",
        "*.example.com",
        "example,com",
        "exam ple.com",
        "example-com",
        "e*",
        "**",
        "*.org",
        "%w+.com",
        "^example.com$",
        ".",
        "example.com:80",
    ],
)
def test_lists_that_do_not_match(client: Any, hosts: str) -> None:
    """Patterns are compared in full, an empty list allows nothing, and a refusal uses no permit."""
    client.hset(RECORD, "hosts", hosts)

    assert ledger(client).take([DIGEST], HOST).verdict is Verdict.WRONG_HOST
    assert not client.exists(WINDOW)


def test_request_without_a_host(client: Any) -> None:
    """A request without a valid host is refused even if the token lists ``*``."""
    client.hset(RECORD, "hosts", "*")

    assert ledger(client).take([DIGEST], candidates()).verdict is Verdict.WRONG_HOST


@pytest.mark.parametrize("enabled", ["0", "", "true", "no"])
def test_disabled_token(client: Any, enabled: str) -> None:
    """Any value of ``enabled`` but 1 disables a token; older records without the field are enabled."""
    client.hset(RECORD, mapping={"hosts": "*", "enabled": enabled})

    assert ledger(client).take([DIGEST], HOST).verdict is Verdict.DISABLED_TOKEN


def test_limit(client: Any) -> None:
    """The limit is exact, and a refusal says how long to wait."""
    client.hset(RECORD, "hosts", "*")
    gate = ledger(client, max_requests=3)

    began = time.monotonic()
    verdicts = [gate.take([DIGEST], HOST).verdict for _ in range(3)]
    refused = gate.take([DIGEST], HOST)
    passed_us = (time.monotonic() - began) * 1_000_000

    assert verdicts == [Verdict.ALLOWED] * 3
    assert refused.verdict is Verdict.RATE_LIMITED
    assert refused.refusal
    assert refused.refusal.limit == Limit(3, 60)
    assert 60_000_000 - passed_us <= refused.refusal.wait_us <= 60_000_000


def test_refusals_take_no_permit(client: Any) -> None:
    """Refusals use no permits, so they do not extend the wait."""
    client.hset(RECORD, "hosts", "*")
    gate = ledger(client, max_requests=1)
    gate.take([DIGEST], HOST)

    waits = [decision.refusal.wait_us for _ in range(5) if (decision := gate.take([DIGEST], HOST)).refusal]

    assert waits == sorted(waits, reverse=True)
    assert client.llen(WINDOW) == 1


def test_own_limit(client: Any) -> None:
    """A token's own limit overrides the default, including a limit of 0."""
    client.hset(RECORD, mapping={"hosts": "*", "rate_limit_max": "1", "rate_limit_window_sec": "300"})
    gate = ledger(client, max_requests=0)

    assert [gate.take([DIGEST], HOST).verdict for _ in range(2)] == [Verdict.ALLOWED, Verdict.RATE_LIMITED]
    client.hset(RECORD, "rate_limit_max", "0")
    assert gate.take([DIGEST], HOST).verdict is Verdict.ALLOWED


@pytest.mark.parametrize("field", ["rate_limit_max", "rate_limit_window_sec"])
@pytest.mark.parametrize("value", ["abc", "nan", "inf", "-1", "1.5", "0x10", "1e3", " 5 ", "", "9" * 30])
def test_unreadable_limit(client: Any, field: str, value: str) -> None:
    """An unreadable limit is an error, not an unlimited token."""
    client.hset(
        RECORD, mapping={"hosts": "*", "rate_limit_max": "5", "rate_limit_window_sec": "5"} | {field: value}
    )

    with pytest.raises(StoreUnavailableError):
        ledger(client).take([DIGEST], HOST)
    assert not client.exists(WINDOW)


def test_window_of_zero_seconds(client: Any) -> None:
    """A window of 0 seconds, which would admit everything, is an error."""
    client.hset(RECORD, mapping={"hosts": "*", "rate_limit_max": "5", "rate_limit_window_sec": "0"})

    with pytest.raises(StoreUnavailableError):
        ledger(client).take([DIGEST], HOST)


def test_record_of_another_type(client: Any) -> None:
    """A record key of another type is an error."""
    client.set(RECORD, "x")

    with pytest.raises(StoreUnavailableError):
        ledger(client).take([DIGEST], HOST)


def test_window_expires(client: Any) -> None:
    """Timestamps expire one window after the last admission, and never lack an expiry."""
    client.hset(RECORD, "hosts", "*")
    began = time.monotonic()
    ledger(client, window_s=60).take([DIGEST], HOST)
    left_ms = client.pttl(WINDOW)
    passed_ms = (time.monotonic() - began) * 1000

    assert 60_000 - passed_ms - 1 <= left_ms <= 60_000


def test_window_is_bounded(client: Any) -> None:
    """After the limit is lowered, surplus timestamps are deleted."""
    client.hset(RECORD, "hosts", "*")
    for _ in range(10):
        ledger(client, max_requests=100).take([DIGEST], HOST)

    now = int(client.lindex(WINDOW, 0))
    client.delete(WINDOW)
    client.rpush(WINDOW, *(now - 61_000_000 for _ in range(10)))
    ledger(client, max_requests=2).take([DIGEST], HOST)

    assert client.llen(WINDOW) == 2


def test_clock_set_back_far(client: Any) -> None:
    """If the clock steps back by more than a window, counting starts again and locks no client out."""
    client.hset(RECORD, "hosts", "*")
    gate = ledger(client, max_requests=1)
    gate.take([DIGEST], HOST)
    client.lset(WINDOW, 0, int(client.lindex(WINDOW, 0)) + 3_600_000_000)

    assert [gate.take([DIGEST], HOST).verdict for _ in range(2)] == [Verdict.ALLOWED, Verdict.RATE_LIMITED]


def test_clock_set_back_a_little(client: Any) -> None:
    """If the clock steps back within a window, no more than the limit is admitted."""
    client.hset(RECORD, "hosts", "*")
    gate = ledger(client, max_requests=2)
    gate.take([DIGEST], HOST)
    client.lset(WINDOW, 0, int(client.lindex(WINDOW, 0)) + 30_000_000)

    assert [gate.take([DIGEST], HOST).verdict for _ in range(2)] == [Verdict.ALLOWED, Verdict.RATE_LIMITED]
    first, second = map(int, client.lrange(WINDOW, 0, -1))
    assert first >= second


def test_timestamp_precision(client: Any) -> None:
    """Timestamps have microsecond precision, which Lua's default number format would truncate."""
    client.hset(RECORD, "hosts", "*")
    before = now_us(client)
    ledger(client).take([DIGEST], HOST)

    assert before <= int(client.lindex(WINDOW, 0)) <= now_us(client)


def test_two_tokens_share_nothing(client: Any) -> None:
    """A token at its limit does not affect another token."""
    other_digest = "cd" * 32
    for digest in (DIGEST, other_digest):
        client.hset(keys.record(digest), "hosts", "*")
    gate = ledger(client, max_requests=1)

    verdicts = [gate.take([digest], HOST).verdict for digest in (DIGEST, DIGEST, other_digest)]

    assert verdicts == [Verdict.ALLOWED, Verdict.RATE_LIMITED, Verdict.ALLOWED]


def test_script_is_reloaded(client: Any) -> None:
    """A script that the server no longer has cached is loaded again, and no request is counted twice."""
    client.hset(RECORD, "hosts", "*")
    gate = ledger(client, max_requests=2)
    for _ in range(2):
        client.script_flush()
        assert gate.take([DIGEST], HOST).verdict is Verdict.ALLOWED

    assert gate.take([DIGEST], HOST).verdict is Verdict.RATE_LIMITED


def test_reply_for_another_key(client: Any) -> None:
    """A reply that does not echo our key is an error."""
    client.hset(RECORD, "hosts", "*")
    gate = ledger(client)
    gate._take.run = lambda *_: [b"tokens:other", b"allowed", b"", b"", b""]  # type: ignore[method-assign]

    with pytest.raises(StoreUnavailableError, match="another"):
        gate.take([DIGEST], HOST)


def test_read_only_replica(real_client: Any) -> None:
    """A read-only server is an error even for a token without a limit."""
    real_client.hset(RECORD, "hosts", "*")
    real_client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(StoreUnavailableError, match=r"ReadOnlyError|MASTERDOWN"):
            ledger(real_client, max_requests=0).take([DIGEST], HOST)
    finally:
        real_client.replicaof("NO", "ONE")
