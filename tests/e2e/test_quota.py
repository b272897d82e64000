"""A quota is exact over workers and replicas, in both lanes, while the token's secret is rotated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from devkit.http import bearer, forwarded
from devkit.load import hammer
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key

pytestmark = pytest.mark.e2e

_QUOTA = 1000
_FOREVER = "0 999999999999"  # a period that does not end during a test


@pytest.fixture(scope="module", name="replicas")
def _replicas(redis_server: RedisServer) -> Iterator[list[Gunicorn]]:
    """Run two services with four workers each on one Redis; only the first has the express lane."""
    with (
        Gunicorn(redis_server.port, web_concurrency=4) as first,
        Gunicorn(redis_server.port, web_concurrency=4, express_lane="false") as second,
    ):
        yield [first, second]


def issue(replica: Gunicorn, redis: Any, most: int) -> str:
    """Issue a token with that quota per month, in a period that does not end; return its secret."""
    secret = replica.issue("a.test", quota_max=str(most), quota_period="month")
    redis.hset(record_key(secret), "quota_used", f"{_FOREVER} 0")
    return secret


def test_exactly_the_quota(replicas: list[Gunicorn], redis: Any) -> None:
    """During a rotation under load, old and new secret together are admitted exactly up to the quota."""
    ports = [replica.port for replica in replicas]
    old = issue(replicas[0], redis, _QUOTA)
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(hammer, ports, [*forwarded("a.test"), *bearer(old)], clients=40, each=20)
        page = replicas[1].post("/rotate_token", token=old, grace_seconds="3600")
        (new,) = re.findall(r"acl_[0-9A-Za-z]{38}", page.text)[:1]
        after = hammer(ports, [*forwarded("a.test"), *bearer(new)], clients=40, each=20)

    assert before.result() + after == {200: _QUOTA, 429: 600}
    assert [replica.auth(secret).status for replica in replicas for secret in (old, new)] == [429] * 4
    assert redis.hget(record_key(new), "quota_used") == f"{_FOREVER} {_QUOTA}"


def test_both_lanes(replicas: list[Gunicorn], redis: Any) -> None:
    """Express lane and gunicorn count against one quota and refuse in the same words."""
    secret = issue(replicas[0], redis, 2)
    assert [replica.auth(secret).status for replica in replicas] == [200, 200]

    for refused in [replica.auth(secret) for replica in replicas]:
        policies = f'"default";q=10000;w=1, "quota";q=2;w={999_999_999_999}'
        assert (refused.status, refused.text) == (429, "quota exceeded")
        assert refused.headers["ratelimit-policy"] == policies
        assert refused.headers["ratelimit"] == f'"quota";r=0;t={refused.headers["retry-after"]}'
