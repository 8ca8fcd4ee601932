"""The conductor's lease on a real bucket, whose server has another idea of the time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.chassis import nats as chassis_nats
from services.chassis.kv import Bucket
from services.ota.adapters import records
from services.ota.adapters.lease import KEY, KvLease
from services.ota.adapters.records import LEASE_S
from tests.fixtures.nats import Connect


@pytest.fixture
async def bucket(connect_fresh_nats: Connect) -> Bucket:
    """It never expires anything, like that of a server whose clock was set back."""
    js = chassis_nats.jetstream(await connect_fresh_nats("ota"))
    return await Bucket.create(js, replace(records.LEASES, ttl_s=0))


async def test_lease_of_a_dead_replica_is_taken_over_although_the_server_keeps_it(bucket: Bucket) -> None:
    now_s = 100.0
    dead, other = KvLease(bucket, "dead", lambda: now_s), KvLease(bucket, "other", lambda: now_s)
    assert await dead.held()
    assert not await other.held()
    now_s += LEASE_S
    assert not await other.held()
    now_s += 0.1
    assert await other.held()
    assert not await dead.held()


async def test_lease_that_is_renewed_is_not_taken_over(bucket: Bucket) -> None:
    now_s = 100.0
    holder, other = KvLease(bucket, "holder", lambda: now_s), KvLease(bucket, "other", lambda: now_s)
    for _ in range(8):
        assert await holder.held()
        assert not await other.held()
        now_s += LEASE_S / 2


async def test_lease_that_the_server_dropped_too_early_is_taken_again_by_one(bucket: Bucket) -> None:
    now_s = 100.0
    holder, other = KvLease(bucket, "holder", lambda: now_s), KvLease(bucket, "other", lambda: now_s)
    assert await holder.held()
    await bucket.delete(KEY)  # as expiry does, when the clock of the server is stepped forward
    now_s += LEASE_S / 2
    assert [await holder.held(), await holder.held(), await other.held()] == [False, True, False]
