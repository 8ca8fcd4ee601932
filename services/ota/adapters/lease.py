"""The port Lease on a key of the bucket `ota_leases`, whose entries live LEASE_S seconds."""

from __future__ import annotations

import time

from services.chassis.errors import RevisionConflictError
from services.chassis.kv import Bucket
from services.ota.adapters.records import LEASE_S

KEY = "conductor"
RENEW_S = LEASE_S / 3


class KvLease:
    """The conductor's lease of this replica."""

    def __init__(self, bucket: Bucket, instance_id: str) -> None:
        self._bucket, self._value = bucket, instance_id.encode()
        self._revision = 0
        self._renewed_s = 0.0

    async def held(self) -> bool:
        """See the port; asks NATS at most every RENEW_S seconds while it has the lease."""
        now = time.monotonic()
        if self._revision and now - self._renewed_s < RENEW_S:
            return True
        try:
            if self._revision:
                self._revision = await self._bucket.update(KEY, self._value, self._revision)
            else:
                self._revision = await self._bucket.create_key(KEY, self._value)
        except RevisionConflictError:  # another replica has it, or ours has run out
            self._revision = 0
            return False
        self._renewed_s = now
        return True
