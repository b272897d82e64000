"""Build the objects that the views and commands of one app share: the core on top of the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from app import audit_lines
from app.core.bulk import Bulk
from app.core.catalog import Catalog
from app.core.declared import Rules
from app.core.defaults import Defaults
from app.core.exporter import Exporter
from app.core.gate import Gate
from app.core.holders import Holders
from app.core.importer import Importer
from app.core.key_lists import KeyLists
from app.core.managed import Applier
from app.core.overview import Overview
from app.core.peppers import Peppers
from app.core.registry import Registry
from app.core.trials import Trials
from app.services import Moving, Services
from app.settings import Settings
from app.store.audit import RedisAudit
from app.store.changes import RedisChanges
from app.store.checkup import RedisCheckup
from app.store.copy_writer import RedisCopies
from app.store.failures import RedisFailures
from app.store.health import EvictionPolicyCheck, Health
from app.store.ledger import RedisLedger
from app.store.logins import RedisLogins
from app.store.managed import RedisManaged
from app.store.pepper_check import PepperCheck
from app.store.preview import PreviewLedger
from app.store.tokens import RedisTokens
from app.store.trail import Trail
from app.store.transport.cluster import Client
from app.store.transport.cluster_pipeline import ClusterPipeline, Executor
from app.store.transport.connection import connect, open_pipeline
from app.store.transport.pipeline import Pipeline
from app.store.transport.shared_connect import SharedConnect
from app.tally import SHARED, Gauge, Tally
from app.version import VERSION

_ADMIN_DEADLINE_S = 2


def build_services(settings: Settings, tally: Tally = SHARED, *, concurrent: bool = False) -> Services:
    """Build the shared objects, for greenlets if *concurrent*; none connects before its first command."""
    peppers = Peppers(settings.pepper, settings.pepper_previous)
    deciding = _deciding(settings, peppers, tally, concurrent=concurrent)
    stores = _stores(settings, deciding.pepper_check, tally, concurrent=concurrent)
    catalog = Catalog(stores.tokens, peppers, settings.token_prefix)
    registry = Registry(stores.tokens, stores.changes, peppers, _defaults(settings), time.time)
    return Services(
        settings=settings,
        gate=deciding.gate,
        catalog=catalog,
        overview=Overview(stores.tokens),
        registry=registry,
        bulk=_bulk(stores, catalog, registry, peppers, settings),
        applier=_applier(stores, peppers, settings),
        holders=Holders(deciding.gate, catalog, registry, stores.changes, settings.token_prefix),
        trials=_trials(stores, catalog, peppers, settings),
        audit=stores.audit,
        logins=RedisLogins(deciding.client, _ADMIN_DEADLINE_S, stores.trail),
        failures=_failures(deciding.executor, settings),
        ping=_health(deciding, settings).check,
        checkup=stores.checkup,
        redis_gauges=lambda: _redis_gauges(deciding.pipeline),
        tally=tally,
        moving=_moving(stores, catalog, peppers, settings),
    )


class _Deciding(NamedTuple):
    """What asks Redis for decisions: over a pipeline, if greenlets share it."""

    client: Client
    pipeline: Pipeline | ClusterPipeline | None
    pepper_check: PepperCheck
    ledger: RedisLedger
    gate: Gate

    @property
    def executor(self) -> Executor:
        return self.pipeline or self.client


def _deciding(settings: Settings, peppers: Peppers, tally: Tally, *, concurrent: bool) -> _Deciding:
    client, deadline_s = connect(settings, concurrent=concurrent), settings.redis_deadline_ms / 1000
    pipeline = open_pipeline(client, deadline_s, tally.note_redis) if concurrent else None
    pepper_check = PepperCheck(pipeline or client, peppers.fingerprints, concurrent=concurrent)
    ledger = RedisLedger(client, pepper_check, settings.limit, deadline_s, pipeline)
    gate = Gate(ledger, peppers, settings.token_prefix)
    return _Deciding(client, pipeline, pepper_check, ledger, gate)


def _health(deciding: _Deciding, settings: Settings) -> Health:
    policy, deadline_s = EvictionPolicyCheck(deciding.client), settings.redis_deadline_ms / 1000
    return Health(deciding.executor, deciding.ledger, deciding.pepper_check, policy, deadline_s)


def _redis_gauges(pipeline: Pipeline | ClusterPipeline | None) -> Mapping[Gauge, int]:
    return {
        Gauge.REDIS_CONNECTIONS: SharedConnect.count_open(),
        Gauge.REDIS_WAITING: pipeline.waiting if pipeline else 0,
    }


class _Stores(NamedTuple):
    tokens: RedisTokens
    changes: RedisChanges
    series: RedisChanges
    managed: RedisManaged
    preview: PreviewLedger
    audit: RedisAudit
    copies: RedisCopies
    trail: Trail
    checkup: RedisCheckup


def _stores(settings: Settings, pepper_check: PepperCheck, tally: Tally, *, concurrent: bool) -> _Stores:
    """Return what finds and changes tokens.

    It has a client of its own, because a change may wait for the disk longer than the deadline of /auth.
    """
    patient = replace(settings, redis_deadline_ms=_ADMIN_DEADLINE_S * 1000)
    client = connect(patient, concurrent=concurrent)
    # Commands, whose output is read by others, ship no entries.
    on_entry = audit_lines.write if concurrent and settings.audit_log == "stdout" else None
    trail = Trail(client, settings.audit_rules, on_entry, tally.note_audit_entry, tally.note_change)
    tokens = RedisTokens(client, pepper_check, _ADMIN_DEADLINE_S, concurrent=concurrent)
    changes, series = (
        RedisChanges(client, tokens, pepper_check, _ADMIN_DEADLINE_S, trail, asks=asks)
        for asks in (True, False)
    )
    managed = RedisManaged(client, _ADMIN_DEADLINE_S)
    preview = PreviewLedger(client, pepper_check, settings.limit, _ADMIN_DEADLINE_S)
    audit = RedisAudit(client, _ADMIN_DEADLINE_S, settings.audit_rules)
    copies = RedisCopies(client, pepper_check, _ADMIN_DEADLINE_S, trail)
    checkup = RedisCheckup(client, _ADMIN_DEADLINE_S, settings.redis_deadline_ms / 1000)
    return _Stores(tokens, changes, series, managed, preview, audit, copies, trail, checkup)


def _bulk(
    stores: _Stores, catalog: Catalog, registry: Registry, peppers: Peppers, settings: Settings
) -> Bulk:
    series = Registry(stores.tokens, stores.series, peppers, _defaults(settings), time.time)
    return Bulk(catalog, registry, series, stores.changes)


def _applier(stores: _Stores, peppers: Peppers, settings: Settings) -> Applier:
    rules = Rules(peppers, _defaults(settings))
    return Applier(stores.tokens, stores.series, stores.managed, rules, time.time)


def _trials(stores: _Stores, catalog: Catalog, peppers: Peppers, settings: Settings) -> Trials:
    gate = Gate(stores.preview, peppers, settings.token_prefix)
    return Trials(gate, stores.preview, catalog)


def _moving(stores: _Stores, catalog: Catalog, peppers: Peppers, settings: Settings) -> Moving:
    return Moving(
        exporter=Exporter(stores.tokens, catalog, stores.copies, peppers.fingerprints, VERSION),
        importer=Importer(stores.copies, peppers),
        key_lists=partial(KeyLists, peppers, _defaults(settings), time.time),
    )


def _failures(client: Executor, settings: Settings) -> RedisFailures | None:
    limit = settings.fail_limit
    return RedisFailures(client, limit, settings.redis_deadline_ms / 1000) if limit else None


def _defaults(settings: Settings) -> Defaults:
    return Defaults(
        settings.token_prefix,
        settings.default_ttl_s,
        settings.rate_limit_window_sec,
        settings.max_ttl_seconds,
        settings.unset,
        settings.tokens_file.keys,
    )
