"""Size of a stream in bytes: a share of the mesh's NATS storage, or a size set by the operator.

The storage limit is that of the mesh's account in nats-server, which `ygg.mesh.nats_keeper` derives from the disk. If
an account has no limit, as on an external NATS, shares are of DEFAULT_STORE_BYTES.
"""

from __future__ import annotations

from dataclasses import dataclass

from nats.js import JetStreamContext

from services.chassis.nats import convert_errors

MIB = 1024**2
GIB = 1024**3
DEFAULT_STORE_BYTES = 2 * GIB
"""Assumed storage of an account without a limit."""
MIN_STREAM_BYTES = 4 * MIB
"""Minimum size of a stream: a few messages of the largest size and their block."""


@dataclass(frozen=True, slots=True)
class StreamQuota:
    """`share` (0 to 1) of the storage, at most `max_bytes`; or `fixed_bytes` if the operator has set them."""

    share: float
    max_bytes: int | None = None
    fixed_bytes: int | None = None

    def of(self, store_bytes: int | None) -> int:
        """Return the size in bytes for a storage of `store_bytes`, None for unlimited."""
        if self.fixed_bytes is not None:
            return self.fixed_bytes
        share_bytes = int(self.share * (DEFAULT_STORE_BYTES if store_bytes is None else store_bytes))
        return max(MIN_STREAM_BYTES, share_bytes if self.max_bytes is None else min(share_bytes, self.max_bytes))


@dataclass(frozen=True, slots=True)
class StoreUse:
    """Storage used by this mesh and its limit, in bytes. Limit None: unlimited; 0: the disk is full."""

    used_bytes: int
    limit_bytes: int | None


async def store_use(js: JetStreamContext) -> StoreUse:
    """Return the current usage; raises StoreUnavailableError."""
    with convert_errors("NATS"):
        found = await js.account_info()
    return StoreUse(found.storage, found.limits.max_storage if found.limits.max_storage >= 0 else None)


async def store_bytes(js: JetStreamContext) -> int | None:
    """Return the limit of `store_use`."""
    return (await store_use(js)).limit_bytes
