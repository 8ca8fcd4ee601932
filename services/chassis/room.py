"""How many bytes a stream may take: a share of what NATS may store for the mesh, or what its operator has set.

The limit of the store is that of the account of the mesh in nats-server, which `ygg.mesh.nats_keeper` sizes from the
disk. Where an account has no limit, as on a NATS of somebody else's, shares are of DEFAULT_STORE_BYTES.
"""

from __future__ import annotations

from dataclasses import dataclass

from nats.js import JetStreamContext

from services.chassis.nats import converted

MIB = 1024**2
GIB = 1024**3
DEFAULT_STORE_BYTES = 2 * GIB
MIN_STREAM_BYTES = 4 * MIB
"""No stream is made smaller: a few messages of the largest size and the block that they stand in."""


@dataclass(frozen=True, slots=True)
class Room:
    """`share` (0 to 1) of the store, at most `at_most_bytes`; or `fixed_bytes`, where the operator has set them."""

    share: float
    at_most_bytes: int | None = None
    fixed_bytes: int | None = None

    def of(self, store_bytes: int | None) -> int:
        """The size in bytes, for a store of that many; None: it has no limit."""
        if self.fixed_bytes is not None:
            return self.fixed_bytes
        wanted = int(self.share * (DEFAULT_STORE_BYTES if store_bytes is None else store_bytes))
        return max(MIN_STREAM_BYTES, wanted if self.at_most_bytes is None else min(wanted, self.at_most_bytes))


@dataclass(frozen=True, slots=True)
class StoreUse:
    """What NATS stores for this mesh and what it may, in bytes. Limit None: there is none; 0: its disk is full."""

    used_bytes: int
    limit_bytes: int | None


async def store_use(js: JetStreamContext) -> StoreUse:
    """As NATS says now; raises StoreUnavailableError."""
    with converted("NATS"):
        found = await js.account_info()
    return StoreUse(found.storage, found.limits.max_storage if found.limits.max_storage >= 0 else None)


async def store_bytes(js: JetStreamContext) -> int | None:
    """The limit of `store_use`."""
    return (await store_use(js)).limit_bytes
