"""All that a database holds of tokens can be moved to another one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from app.core.arrivals import Fate
from app.core.audit import Wanted
from app.core.copies import LABELS, Copy, Here, Written
from app.core.errors import StoreUnavailableError
from app.core.fields import KEPT
from app.core.importer import Options
from app.core.moments import rfc3339
from app.core.quotas import bounds
from app.core.tokens import Status
from app.core.verdicts import Verdict
from app.store import index, keys
from app.store.copies import CopyReader
from devkit.builders import ACTOR
from devkit.moving import Mover, contents, rows
from devkit.replica import Replica

EVERYTHING = {
    "hosts": "a.test,*.b.test",
    "email": "ann@a.test",
    "comment": "für 日本",
    "methods": "GET",
    "paths": "/v1/*",
    "networks": "10.0.0.0/8",
    "rate_limit_max": "50",
    "rate_limit_window_sec": "60",
    "quota_max": "1000000",
    "quota_period": "month",
    "not_before": "2020-01-31",
    "expires_at": "2099-01-31",
}


@pytest.fixture
def mover(client: Any) -> Mover:
    """Return a mover on an empty database."""
    return Mover(Replica(client, "pepper"))


def emptied(mover: Mover) -> Mover:
    """Return a mover on the same database without its keys."""
    mover.replica.client.flushall()
    return Mover(Replica(mover.replica.client, "pepper"))


def key(replica: Replica, secret: str) -> str:
    """Return the key of the record of a secret."""
    return keys.record(replica.peppers.digest(secret))


def filled(replica: Replica) -> dict[str, str]:
    """Create a token in every state; return the secrets by what became of them."""
    found = {}
    _, found["full"] = replica.issue(**EVERYTHING)
    record = key(replica, found["full"])
    start, end = bounds("month", int(time.time()))
    more = {"quota_used": f"{start} {end} 7", "pepper": replica.peppers.fingerprints[0], "managed": "web.ci"}
    replica.client.hset(record, mapping=more)
    replica.client.sadd(keys.MANAGED, replica.peppers.digest(found["full"]))
    _, found["used"] = replica.issue()
    replica.client.hset(key(replica, found["used"]), "created_at", 1_700_000_000)
    for host in ("a.test", "a.test", "b.test"):
        replica.ask(found["used"], host)
    name, found["replaced"] = replica.issue(ttl_seconds="86400")
    _, found["rotated"] = replica.rotate(name, "3600")
    name, found["gone"] = replica.issue()
    replica.rotate(name, "0")
    name, found["deleted"] = replica.issue(comment="was here")
    replica.delete(name)
    _, found["expired"] = replica.issue(ttl_seconds="600")
    replica.pass_end(found["expired"])
    name, found["disabled"] = replica.issue()
    replica.enable(name, enabled=False)
    return found


def test_everything_moves(mover: Mover) -> None:
    """Every key of a token is after an import what it was before the export, and so is every decision."""
    secrets = filled(mover.replica)
    lines = mover.export()
    before = contents(mover.replica.client)
    asked = {name: mover.replica.ask(secret, "nowhere.test") for name, secret in secrets.items()}
    before_use = contents(mover.replica.client)
    assert before != before_use  # asking counts

    new = emptied(mover)
    assert new.check(lines).problems == []
    loaded = new.load(lines)
    assert {fate for _, fate in loaded} == {Fate.NEW}
    assert contents(new.replica.client) == before
    assert {name: new.replica.ask(secret, "nowhere.test") for name, secret in secrets.items()} == asked
    assert new.replica.ask(secrets["replaced"]) is new.replica.ask(secrets["rotated"]) is Verdict.ALLOWED


def test_no_secret(mover: Mover) -> None:
    """An export has no secret and no pepper."""
    secrets = filled(mover.replica)
    text = "".join(mover.export())

    assert not [name for name, secret in secrets.items() if secret in text]
    assert '"pepper"' in text  # a fingerprint
    assert '"peppers":["' in text


def test_every_field(mover: Mover) -> None:
    """A line has every field that a record has, so that a new one can't be forgotten."""
    filled(mover.replica)
    lines = [json.loads(line) for line in mover.export()]
    full = next(line for line in lines if line.get("comment") == EVERYTHING["comment"])

    assert {field.name for field in KEPT if not full[field.name]} == set()
    assert full.keys() >= {"id", "sha256", "enabled", "created_at", "expires_at", "quota_used", *LABELS}


def test_again(mover: Mover) -> None:
    """An import that is repeated changes nothing, even if the tokens were used, moved or ended since."""
    secrets = filled(mover.replica)
    lines = mover.export()
    new = emptied(mover)
    new.load(lines)
    new.replica.ask(secrets["full"])
    new.replica.rotate(new.replica.catalog.find(secrets["used"]).id, "3600")
    new.replica.delete(secrets["disabled"])
    before = contents(new.replica.client)

    assert new.check(lines).problems == []
    assert {fate for _, fate in new.load(lines)} == {Fate.SAME, Fate.ENDED}
    assert contents(new.replica.client) == before


@pytest.mark.parametrize("how", ["deleted", "gone"])
def test_what_ended_here(mover: Mover, how: str) -> None:
    """What was deleted or replaced after an export is brought back only on request."""
    name, secret = mover.replica.issue()
    lines = mover.export()
    if how == "deleted":
        mover.replica.delete(name)
    else:
        mover.replica.delete(mover.replica.rotate(name, "0")[0].digest)

    assert mover.load(lines) == {("tokens", Fate.ENDED): 1}
    assert mover.replica.ask(secret) is Verdict.UNKNOWN_TOKEN
    assert mover.load(lines, restore_ended=True) == {("tokens", Fate.NEW): 1}
    assert mover.replica.ask(secret) is Verdict.ALLOWED
    assert [token.id for token in mover.replica.catalog.page(1).tokens] == [name]


def test_rotated_here(mover: Mover) -> None:
    """A token that was rotated since stays the only one with its id, whatever is remembered."""
    name, secret = mover.replica.issue()
    lines = mover.export()
    mover.replica.rotate(name, "0")
    (problem,) = mover.check(lines, restore_ended=True).problems
    assert problem == (2, f"sha256: token {name} with another secret, because it was rotated, is here")
    mover.replica.client.delete(keys.ended(mover.replica.peppers.digest(secret)))

    assert mover.check(lines).is_conflict
    assert mover.load(lines, skip_existing=True) == {("tokens", Fate.TAKEN): 1}
    assert mover.replica.ask(secret) is Verdict.UNKNOWN_TOKEN


def test_expired_meanwhile(mover: Mover) -> None:
    """A token that has expired since the export is remembered and not stored, even on request."""
    name, secret = mover.replica.issue(ttl_seconds="86400", comment="was here")
    lines = mover.export()
    lines[1] = lines[1].replace(json.loads(lines[1])["expires_at"], rfc3339(int(time.time()) - 60))
    new = emptied(mover)

    assert new.load(lines, restore_ended=True) == {("tokens", Fate.ENDED): 1}
    assert new.replica.ask(secret) is Verdict.EXPIRED_TOKEN
    (ended,) = new.replica.catalog.all_ended()
    assert (ended.id, ended.comment) == (name, "was here")


def test_existing(mover: Mover) -> None:
    """A token that is here and differs is refused by its line, or left out on request."""
    name, _ = mover.replica.issue(comment="old")
    mover.replica.issue()
    lines = mover.export()
    mover.replica.edit(name, {"comment": "new"})

    report = mover.check(lines)
    assert report.problems == [(3, f"sha256: token {name} is here and differs: comment")]
    assert report.is_conflict
    assert mover.check(lines, skip_existing=True).problems == []
    assert mover.load(lines, skip_existing=True) == {("tokens", Fate.SAME): 1, ("tokens", Fate.TAKEN): 1}
    assert mover.replica.catalog.find(name).comment == "new"


def test_somebody_was_faster(mover: Mover) -> None:
    """A token that appears, or is deleted, between the check and the write is not replaced or restored."""
    name, _ = mover.replica.issue()
    other, _ = mover.replica.issue()
    token_copies = [copy for slice_ in mover.copies.tokens() for copy in slice_]
    mover.replica.delete(name)
    before = contents(mover.replica.client)

    written = mover.copies.write(ACTOR, token_copies, restore_ended=False)()
    by_id = {copy.token.id: outcome for copy, outcome in zip(token_copies, written, strict=True)}
    assert by_id == {name: Written.ENDED, other: Written.TAKEN}
    after = contents(mover.replica.client)
    assert [name for name in after if b"tokens:" in name and after[name] != before.get(name)] == []


def test_failure_during_a_write(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis writes a batch the next one is judged; if that fails, the first one is finished."""
    mover.replica.issue()
    mover.replica.issue()
    lines, events = mover.export(), list[str]()
    emptied(mover)
    look = mover.copies.look

    def look_once(copies: Sequence[Copy]) -> list[Here]:
        events.append("look")
        if len(events) > 1:
            raise StoreUnavailableError("stopped")
        return look(copies)

    monkeypatch.setattr("app.core.importer._BATCH", 1)
    monkeypatch.setattr(mover.copies, "look", look_once)
    with pytest.raises(StoreUnavailableError):
        mover.importer.run(ACTOR, rows(lines), Options(), 0, lambda done: events.append(f"{len(done)} done"))
    assert (events, mover.copies.count()) == (["look", "look", "1 done"], 1)


def test_audit(mover: Mover) -> None:
    """Each token that is imported has one audit entry; redirects, ends and what is here already have none."""
    filled(mover.replica)
    lines = mover.export()
    new = emptied(mover)
    new.load(lines)
    new.load(lines)

    entries = new.replica.audit.newest(Wanted(), None, 100).entries
    tokens = {token.id: token for token in new.replica.catalog.all_listed()}
    assert sorted(entry.token_id for entry in entries) == sorted(tokens)
    assert {(entry.action, entry.actor) for entry in entries} == {("create", ACTOR.name)}
    full = next(entry for entry in entries if entry.new.get("comment") == EVERYTHING["comment"])
    assert full.changes()["hosts"] == (None, ["a.test", "*.b.test"])
    assert full.changes()["expires_at"] == (None, "2099-01-31T00:00:00Z")


def test_orders(mover: Mover) -> None:
    """Imported tokens are in the orders by expiry and by last use at once."""
    secrets = filled(mover.replica)
    lines = mover.export()
    new = emptied(mover)
    new.load(lines)

    entry = {
        token.digest: keys.index_entry(token.id, token.digest) for token in new.replica.catalog.all_listed()
    }
    used, full = (new.replica.catalog.find(secrets[name]) for name in ("used", "full"))
    scores = new.replica.client
    assert scores.zscore(keys.LAST_USED_AT, entry[used.digest]) == used.last_used_at
    assert scores.zscore(keys.EXPIRES_AT, entry[full.digest]) == full.expires_at


def test_other_peppers(single_client: Any) -> None:
    """Tokens of a pepper that is not set here are refused; one that is a previous one is enough."""
    old = Mover(Replica(single_client, "old pepper"))
    _, secret = old.replica.issue()
    lines = old.export()
    single_client.flushall()

    new = Mover(Replica(single_client, "new pepper"))
    assert not new.importer.knows(json.loads(lines[0])["peppers"])
    ((number, problem),) = new.check(lines).problems
    assert (number, problem.partition(":")[0], "PEPPER_PREVIOUS" in problem) == (2, "pepper", True)
    both = Mover(Replica(single_client, "new pepper", "old pepper"))
    assert both.load(lines) == {("tokens", Fate.NEW): 1}
    assert both.replica.ask(secret) is Verdict.ALLOWED
    assert single_client.smembers(keys.PEPPERS) >= {old.replica.peppers.fingerprints[0].encode()}


def test_records_of_other_programs(mover: Mover) -> None:
    """Old and odd records move as they are, and those that can't be read are named."""
    client, digests = mover.replica.client, [f"{number:x}" * 64 for number in range(1, 7)]
    client.hset(keys.record(digests[0]), mapping={"hosts": "Old.test, *.b.test", "managed": "no/key"})
    client.hset(keys.record(digests[1]), mapping={"hosts": "two words", "comment": b"\xff\x00"})
    client.hset(keys.record(digests[2]), mapping={"email": "only@an.email", "methods": " , "})
    client.hset(keys.record(digests[3]), mapping={"hosts": "a.test", "rate_limit_max": "99999"})
    client.hset(keys.record(digests[4]), mapping={"hosts": "a.test", "rate_limit_max": "many"})
    client.set(keys.record(digests[5]), "no hash")
    lines = mover.export()

    assert sorted(mover.skipped) == digests[4:]
    tokens = {token.digest: token for token in mover.replica.catalog.all_listed()}
    new = emptied(mover)
    assert new.check(lines).problems == []
    new.load(lines)
    assert {token.digest: token for token in new.replica.catalog.all_listed()} == {
        digest: tokens[digest] for digest in digests[:4]
    }
    assert client.hgetall(keys.record(digests[1]))[b"comment"] == b"\xff\x00"


def test_stored_texts(mover: Mover) -> None:
    """A line whose stored texts would make a record that can't be read is refused."""
    mover.replica.issue()
    lines = mover.export()
    lines[1] = lines[1].replace('"kind"', '"stored":{"rate_limit_max":"many"},"kind"')

    assert emptied(mover).check(lines).problems == [(2, "stored: the service could not read this record")]


def changes(replica: Replica, secrets: Sequence[str]) -> Iterator[Any]:
    """Edit, rotate and delete the tokens of *secrets*, one at each step."""
    yield replica.edit(replica.catalog.find(secrets[3]).id, {"comment": "new"})
    yield replica.rotate(replica.catalog.find(secrets[0]).id, "3600")
    yield replica.rotate(replica.catalog.find(secrets[1]).id, "0")
    yield replica.delete(secrets[2])


@pytest.mark.parametrize("order", [1, -1])
def test_changes_meanwhile(mover: Mover, monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    """Tokens that are rotated, deleted and edited during an export are in it once, and can be imported."""
    monkeypatch.setattr(index, "_SLICE_SIZE", 1)
    names, secrets = zip(*(mover.replica.issue() for _ in range(6)), strict=True)
    steps = changes(mover.replica, secrets[::order])
    lines = []
    for line in mover.exporter.lines(int(time.time()), lambda *_: None):
        lines.append(line)
        next(steps, None)

    found = [json.loads(line) for line in lines[1:]]
    digests = [line["sha256"] for line in found]
    assert len(digests) == len(set(digests))
    ids = sorted(line["id"] for line in found if line["kind"] == "token")
    assert ids in (sorted(names), sorted({*names} - {names[::order][2]}))
    new = emptied(mover)
    assert new.check(lines).problems == []
    new.load(lines)
    assert len(list(new.replica.catalog.all_listed())) == len(ids)


def test_rotation_while_a_slice_is_read(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is rotated after the index is read, and before its record is, is exported too."""
    name, _ = mover.replica.issue()
    walk = CopyReader._walk

    def walk_and_rotate(reader: CopyReader) -> Iterator[list[bytes]]:
        for entries in walk(reader):
            mover.replica.rotate(name, "0")
            yield entries

    monkeypatch.setattr(CopyReader, "_walk", walk_and_rotate)
    assert [line["id"] for line in map(json.loads, mover.export()) if line.get("kind") == "token"] == [name]


def test_namesakes(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two records with one id, the second is named and not exported, because one could not be managed."""
    monkeypatch.setattr(index, "_SLICE_SIZE", 1)
    _, secret = mover.replica.issue()
    client = mover.replica.client
    record = client.hgetall(key(mover.replica, secret))
    client.hset(keys.record("ab" * 32), mapping=record)
    tokens = [line for line in map(json.loads, mover.export()) if line.get("kind") == "token"]

    assert (len(tokens), len(mover.skipped)) == (1, 1)
    assert {tokens[0]["sha256"], *mover.skipped} == {"ab" * 32, mover.replica.peppers.digest(secret)}


def test_status_of_imported_tokens(mover: Mover) -> None:
    """An imported token is listed, found by its id, and can be changed and deleted like any other."""
    name, _ = mover.replica.issue()
    lines = mover.export()
    new = emptied(mover)
    new.load(lines)

    assert new.replica.catalog.find(name).status(int(time.time())) is Status.ACTIVE
    new.replica.rotate(name, "0")
    assert new.replica.delete(name).id == name
