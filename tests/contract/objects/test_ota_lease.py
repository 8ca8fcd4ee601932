"""The conductor's lease on a real bucket of a server with a different clock."""

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
    """A bucket that expires nothing, like that of a server with its clock set back."""
    js = chassis_nats.jetstream(await connect_fresh_nats("ota"))
    return await Bucket.create(js, replace(records.LEASES, ttl_s=0))


async def test_lease_of_dead_replica_is_taken_over(bucket: Bucket) -> None:
    now_s = 100.0
    dead, other = KvLease(bucket, "dead", lambda: now_s), KvLease(bucket, "other", lambda: now_s)
    assert await dead.held()
    assert not await other.held()
    now_s += LEASE_S
    assert not await other.held()
    now_s += 0.1
    assert await other.held()
    assert not await dead.held()


async def test_renewed_lease_is_not_taken_over(bucket: Bucket) -> None:
    now_s = 100.0
    holder, other = KvLease(bucket, "holder", lambda: now_s), KvLease(bucket, "other", lambda: now_s)
    for _ in range(8):
        assert await holder.held()
        assert not await other.held()
        now_s += LEASE_S / 2


async def test_lease_expired_too_early_is_reacquired_once(bucket: Bucket) -> None:
    now_s = 100.0
    holder, other = KvLease(bucket, "holder", lambda: now_s), KvLease(bucket, "other", lambda: now_s)
    assert await holder.held()
    await bucket.delete(KEY)  # like expiry after the server's clock was set forward
    now_s += LEASE_S / 2
    assert [await holder.held(), await holder.held(), await other.held()] == [False, True, False]
