"""The port Lease on a key of the bucket `ota_leases`, with entries that expire after LEASE_S seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.chassis.errors import RevisionConflictError
from services.chassis.kv import Bucket
from services.ota.adapters.records import LEASE_S

KEY = "conductor"
RENEW_INTERVAL_S = LEASE_S / 3


class KvLease:
    """The conductor lease of this replica."""

    def __init__(self, bucket: Bucket, instance_id: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bucket, self._value, self._monotonic = bucket, instance_id.encode(), monotonic
        self._revision = 0
        self._renewed_s = 0.0
        self._other = (0, 0.0)

    async def held(self) -> bool:
        """See the port; writes to NATS at most every RENEW_INTERVAL_S seconds while it has the lease."""
        now = self._monotonic()
        if self._revision and now - self._renewed_s < RENEW_INTERVAL_S:
            return True
        try:
            if self._revision:
                self._revision = await self._bucket.update(KEY, self._value, self._revision)
            else:
                self._revision = await self._take(now)
        except RevisionConflictError:  # another replica has it, or ours has expired
            self._revision = 0
        if self._revision:
            self._renewed_s = now
        return self._revision > 0

    async def _take(self, now_s: float) -> int:
        """Return the revision of the lease, 0 if another replica has it. Raises RevisionConflictError.

        NATS expires the key by its wall clock; if that is set back, the lease of a dead replica would stay. So a lease
        that was not renewed for LEASE_S on this process's monotonic clock is taken over.
        """
        entry = await self._bucket.get(KEY)
        if entry is None:
            return await self._bucket.create_key(KEY, self._value)
        revision, since_s = self._other
        if revision != entry.revision:
            self._other = entry.revision, now_s
            return 0
        return await self._bucket.update(KEY, self._value, entry.revision) if now_s - since_s > LEASE_S else 0
