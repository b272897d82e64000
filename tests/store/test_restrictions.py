"""What take.lua does with restrictions: any number of them, in the order given."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.restrictions import RESTRICTIONS
from app.core.verdicts import Verdict
from app.store import keys
from app.store.transport.scripts import Script

DIGEST = "cd" * 32
RECORD = keys.record(DIGEST)
FIELDS, VERDICTS = ("hosts", "methods", "paths"), ("wrong_host", "wrong_method", "wrong_path")
ALL_MET = (",a.test,*.test,*,", ",GET,", ",/v1/models,")


def ask(client: Any, *candidates: str) -> str:
    """Return the verdict on a request with those candidates, one text for each field."""
    args = [100, 60, *FIELDS, *VERDICTS, *candidates, "call"]
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
def test_the_first_that_is_not_met_decides(client: Any, record: dict[str, str], verdict: str) -> None:
    """Restrictions apply in order; a missing or empty list is none, and case matters in all but hosts."""
    client.hset(RECORD, mapping={"hosts": "A.test"} | record)

    assert ask(client, *ALL_MET) == verdict
    assert bool(client.exists(keys.window(DIGEST))) is (verdict == "allowed")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 400])
def test_no_candidates(client: Any, place: int, size: int) -> None:
    """A request without the header that a restriction needs is refused, whatever the token lists."""
    lists = {"hosts": "*", "methods": "GET", "paths": "/*"}
    client.hset(RECORD, mapping={field: text + ",x" * size for field, text in lists.items()})
    candidates = [*ALL_MET]
    candidates[place] = ""

    assert ask(client, *candidates) == VERDICTS[place]


def test_only_hosts_are_required(client: Any) -> None:
    """A token without hosts opens nothing, and one without any other list is not restricted by it."""
    client.hset(RECORD, mapping={"id": "i", "methods": "GET", "paths": "/*"})
    assert ask(client, *ALL_MET) == "wrong_host"
    client.hset(RECORD, "hosts", "*")
    client.hdel(RECORD, "methods", "paths")
    assert ask(client, *ALL_MET[:1], "", "") == "allowed"


def test_rows_are_distinct() -> None:
    """Each restriction has a field and a verdict of its own."""
    assert len({row.field for row in RESTRICTIONS}) == len(RESTRICTIONS)
    assert len({row.verdict for row in RESTRICTIONS} & set(Verdict)) == len(RESTRICTIONS)
