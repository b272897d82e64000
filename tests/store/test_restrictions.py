"""take.lua applies every restriction, in its order."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from app.core.limits import Limit
from app.core.restrictions import RESTRICTIONS
from app.core.verdicts import Attempt, Verdict
from app.store import keys
from app.store.transport.scripts import Script
from devkit.replica import Replica

DIGEST = "cd" * 32
RECORD = keys.record(DIGEST)
VERDICTS = [restriction.verdict for restriction in RESTRICTIONS]
ALL_MET = (",a.test,*.test,*,", ",GET,", ",/v1/models,", ",192.0.2.7,")


def ask(client: Any, *candidates: str) -> str:
    """Return the verdict on a request with those candidates, one string for each restriction."""
    args = [100, 60, *candidates, "call"]
    reply = Script("take").run(client, keys.all_of(DIGEST), args)
    return str(reply[1].decode())


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        ({}, "allowed"),
        ({"methods": "", "paths": ""}, "allowed"),
        ({"methods": "POST,GET", "paths": "/v2,/v1/*"}, "allowed"),
        ({"methods": " GET , POST"}, "allowed"),
        ({"hosts": "", "methods": "POST", "paths": "/v2"}, "wrong_host"),
        ({"methods": "POST", "paths": "/v2"}, "wrong_method"),
        ({"methods": "GET", "paths": "/v2"}, "wrong_path"),
        ({"methods": "get"}, "wrong_method"),
        ({"paths": "/V1/MODELS"}, "wrong_path"),
        ({"paths": "/V1/MODELS," + "/x" * 200}, "wrong_path"),
        ({"paths": ", /v1/models," + "/x" * 200}, "allowed"),
        ({"methods": ","}, "wrong_method"),
        ({"methods": "POST", "enabled": "0"}, "disabled_token"),
        ({"methods": "POST", "not_before": "99999999999"}, "token_not_yet_valid"),
    ],
)
def test_first_unmet_restriction_decides(client: Any, record: dict[str, str], verdict: str) -> None:
    """Restrictions apply in order; an empty list restricts nothing, and case matters in all but hosts."""
    client.hset(RECORD, mapping={"hosts": "A.test"} | record)

    assert ask(client, *ALL_MET) == verdict
    assert bool(client.exists(keys.window(DIGEST))) is (verdict == "allowed")


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("size", [0, 400])
def test_no_candidates(client: Any, place: int, size: int) -> None:
    """A request without the header that a restriction needs is refused, whatever the token lists."""
    lists = {"hosts": "*", "methods": "GET", "paths": "/*", "networks": "0.0.0.0/0"}
    client.hset(RECORD, mapping={field: listed + ",x" * size for field, listed in lists.items()})
    candidates = [*ALL_MET]
    candidates[place] = ""

    assert ask(client, *candidates) == VERDICTS[place]


def test_only_hosts_are_required(client: Any) -> None:
    """A token without hosts allows nothing, and one without any other list is not restricted by it."""
    client.hset(RECORD, mapping={"id": "i", "methods": "GET", "paths": "/*"})
    assert ask(client, *ALL_MET) == "wrong_host"
    client.hset(RECORD, "hosts", "*")
    client.hdel(RECORD, "methods", "paths")
    assert ask(client, *ALL_MET[:1], "", "", "") == "allowed"


def test_rows_are_distinct() -> None:
    """Each restriction has a field and a verdict of its own."""
    assert len({row.field for row in RESTRICTIONS}) == len(RESTRICTIONS)
    assert len({row.verdict for row in RESTRICTIONS} & set(Verdict)) == len(RESTRICTIONS)


SECRET = "from-an-older-deployment"
WHOLE = Attempt(SECRET, "a.test", None, "GET", "/v1/models?x", "192.0.2.7")


def decide(client: Any, attempt: Attempt, **record: str) -> Verdict:
    """Return the verdict on *attempt* with a token that has that *record*."""
    replica = Replica(client, "pepper", limit=Limit(0, 60))
    client.delete(replica.record(SECRET))
    client.hset(replica.record(SECRET), mapping={"hosts": "a.test"} | record)
    return replica.gate.check(attempt).verdict


@pytest.mark.parametrize(
    ("record", "is_allowed"),
    [
        *(({"methods": text}, True) for text in ("GET", "POST,GET", " GET", "")),
        *(
            ({"methods": text}, False)
            for text in ("get", "POST", "GETS", "*", ",", " ", "G", "GET;POST", "HEAD")
        ),
        *(
            ({"paths": text}, True)
            for text in ("/v1/models", "/v1/*", "/*", "/x,/v1/* ", "/x," * 99 + "/v1/*", "")
        ),
        *(
            ({"paths": text}, False)
            for text in ("/v1", "/v1*", "/v1/models/", "/v1/models/*", "*", "/", "/v1/model")
        ),
        *(
            ({"paths": text}, False)
            for text in ("v1/*", "//*", "/../*", "/v1/**", "/v1/*/*", ",", " ", "/V1/*", "/*/*")
        ),
        *(
            ({"paths": text}, False)
            for text in ("/v1/models?x", "/v1/models?*", ".*", "/v1/[a-z]+", "%w", "/v1/ *")
        ),
        *(
            ({"networks": text}, True)
            for text in ("192.0.2.7", "192.0.2.7/32", "x,192.0.2.0/24", "0.0.0.0/0", "")
        ),
        *(
            ({"networks": text}, False)
            for text in ("192.0.2.8", "192.0.2.7/24", "192.0.2", "192.0.2.*", "*", "/0")
        ),
        *(
            ({"networks": text}, False)
            for text in ("::/0", "::ffff:192.0.2.7", "192.0.2.0/024", "any", ",", " ")
        ),
    ],
)
def test_lists_of_other_programs(client: Any, record: dict[str, str], is_allowed: bool) -> None:  # noqa: FBT001
    """A list is compared as it is written: what no operator can write matches nothing."""
    (field,) = record
    expected = Verdict.ALLOWED if is_allowed else Verdict(f"wrong_{field[:-1]}")

    assert decide(client, WHOLE, **record) is expected


@pytest.mark.parametrize(
    "text", ["2001:db8::7", "2001:DB8::/32 ", "2001:db8::/32", "2001:db8:0:0::/33", "2001:db8::/127"]
)
@pytest.mark.parametrize("is_client", [True, False])
def test_ipv6_networks(client: Any, text: str, is_client: bool) -> None:  # noqa: FBT001
    """An IPv6 network contains its addresses and no other."""
    address = "2001:db8::7" if is_client else "2001:db9::7"
    is_around = is_client and text != "2001:db8::/127" and text.islower()
    expected = Verdict.ALLOWED if is_around else Verdict.WRONG_NETWORK

    assert decide(client, WHOLE._replace(address=address), networks=text) is expected


IPV6_NONSENSE = [
    *(
        "2001:db8::1/32",
        "2001:db8::7/0",
        ":2001:db8::/32",
        "2001:db8::/032",
        "2001:db8::/129",
        "2001:db8:::/32",
    ),
    *("2001:db8/32", "::/", "2001::db8::/32", "20010db8::/32", "2001:db8::7%eth0", "::/-1", "[2001:db8::7]"),
    *(":", "::/1x", "2001:db8:0:0:0:0:0:7:0/32", "/0"),
]


@pytest.mark.parametrize("text", IPV6_NONSENSE)
def test_ipv6_nonsense(client: Any, text: str) -> None:
    """What is no IPv6 network in its usual form contains nothing."""
    assert decide(client, WHOLE._replace(address="2001:db8::7"), networks=text) is Verdict.WRONG_NETWORK


@pytest.mark.parametrize("length", [499, 500, 501, 502, 600])
def test_longest_path(client: Any, length: int) -> None:
    """A path is compared as a whole, however long: its beginning is not enough for an exact match."""
    path = "/" + "a" * (length - 1)

    for listed in (path[:499], path[:500], path[:501], path):
        is_allowed = listed == path and length <= 500
        expected = Verdict.ALLOWED if is_allowed else Verdict.WRONG_PATH
        assert decide(client, WHOLE._replace(uri=path), paths=listed) is expected
    assert decide(client, WHOLE._replace(uri=path + "/x"), paths=path[:497] + "/*") is Verdict.WRONG_PATH
    assert decide(client, WHOLE._replace(uri="/b/" + path), paths="/b/*") is Verdict.WRONG_PATH
    assert decide(client, WHOLE._replace(uri="/b" + path), paths="/b/*") is Verdict.ALLOWED


def test_refusals_consume_nothing(client: Any) -> None:
    """Of host, method, path and network the first that is wrong decides, and none takes a permit."""
    lists = {"methods": "POST", "paths": "/x", "networks": "10.0.0.0/8"}
    replica, verdicts = Replica(client, "pepper", limit=Limit(1, 60)), []
    client.hset(replica.record(SECRET), mapping={"hosts": "b.test"} | lists)
    for field, text in [
        ("hosts", "a.test"),
        ("methods", "GET"),
        ("paths", "/v1/*"),
        ("networks", "0.0.0.0/0"),
    ]:
        verdicts += [replica.gate.check(WHOLE).verdict for _ in range(3)]
        client.hset(replica.record(SECRET), field, text)
    verdicts += [replica.gate.check(WHOLE).verdict for _ in range(2)]

    refused = [row.verdict for row in RESTRICTIONS for _ in range(3)]
    assert verdicts == [*refused, Verdict.ALLOWED, Verdict.RATE_LIMITED]


METHODS = ["GET", "POST", "HEAD", "PROPFIND"]
PATHS = ["/", "/*", "/v1", "/v1/", "/v1/*", "/v1/models", "/v1/models/*", "/a,b", "/a", "/.b/*", "/V1/*"]
NETWORKS = [
    "192.0.2.7",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/33",
    "2001:db8::7",
]
ADDRESSES = ["192.0.2.7", "192.0.2.200", "10.0.0.1", "2001:db8::7", "2001:db8:8000::1", "::1"]
PARTS = ["/", "/", ".", "v1", "models", "%2e", "a", ",", ";", "?", "\\", "*", "\xe9", "#"]
URIS = st.sampled_from([*PATHS, "/v1/x?/..", "*", "//", "/v1//x"]) | st.lists(
    st.sampled_from(PARTS), max_size=7
).map(lambda parts: "/" + "".join(parts))


def expected(attempt: Attempt, methods: list[str], paths: list[str], networks: list[str]) -> Verdict:
    """Return the verdict of a model: the rules of docs/tokens.md in plain Python."""
    usual = {attempt.method, "GET"} if attempt.method == "HEAD" else {attempt.method}
    if methods and not usual & {*methods}:
        return Verdict.WRONG_METHOD
    path = (attempt.uri or "").split("?")[0]
    segments = path.split("/")
    is_plain = re.fullmatch(r"/[ -~]*", path) and not {*"%\\;# "} & {*path} and not {".", ".."} & {*segments}
    is_listed = any(path == text or (text.endswith("/*") and path.startswith(text[:-1])) for text in paths)
    if paths and not (is_plain and "//" not in path and is_listed):
        return Verdict.WRONG_PATH
    address = ip_address(attempt.address) if attempt.address else None
    if networks and not (address and any(address in ip_network(text) for text in networks)):
        return Verdict.WRONG_NETWORK
    return Verdict.ALLOWED


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lists=st.tuples(
        *(st.lists(st.sampled_from(pool), max_size=3, unique=True) for pool in (METHODS, PATHS, NETWORKS))
    ),
    method=st.sampled_from([None, "", *METHODS, "get", "PATCH"]),
    uri=st.none() | URIS,
    address=st.sampled_from([None, *ADDRESSES]),
)
def test_restrictions_equal_the_model(
    client: Any, lists: Any, method: str | None, uri: str | None, address: str | None
) -> None:
    """For any lists and any request, the gate decides as the model does."""
    attempt = Attempt(SECRET, "a.test", None, method, uri, address)
    record = {
        name: ",".join(items) for name, items in zip(("methods", "paths", "networks"), lists, strict=True)
    }
    written = [[item for item in text.split(",") if item] for text in record.values()]

    assert decide(client, attempt, **record) is expected(attempt, *written)
