"""The port GroupStore: the bucket `groups`, one key per group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from nats.js import JetStreamContext

from services.chassis import buckets, records
from services.chassis.kv import Bucket
from services.domain.selectors import parse_selector
from services.registry.model import Group
from yggdrasil.registry.v1 import registry_pb2 as pb

SCHEMA = 1


def group_to_bytes(group: Group) -> bytes:
    """Return the group of a StoredGroup."""
    stored = pb.StoredGroup(schema=SCHEMA, name=group.name, selector=str(group.selector), description=group.description)
    return stored.SerializeToString(deterministic=True)


class KvGroupStore:
    """The port GroupStore. Groups are few, so listing reads each of them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @classmethod
    async def open(cls, js: JetStreamContext) -> KvGroupStore:
        """Open the bucket; create it if it is missing."""
        return cls(await Bucket.create(js, buckets.GROUPS))

    async def get(self, name: str) -> Group | None:
        """Return the group, or None."""
        entry = await self._bucket.get(name)
        return (
            None
            if entry is None
            else records.decode(buckets.GROUPS.name, name, entry.value, partial(_read, entry.revision))
        )

    async def put(self, group: Group) -> Group:
        """Store the group on top of `group.revision` (0: new); raises RevisionConflictError."""
        value = group_to_bytes(group)
        if group.revision:
            return replace(group, revision=await self._bucket.update(group.name, value, group.revision))
        return replace(group, revision=await self._bucket.create_key(group.name, value))

    async def delete(self, group: Group) -> None:
        """Delete the group; raises RevisionConflictError if `group.revision` is not the current one."""
        await self._bucket.delete(group.name, group.revision)

    async def all(self) -> Sequence[Group]:
        """Return every group, ordered by name."""
        entries = await asyncio.gather(*(self._bucket.get(name) for name in sorted(await self._bucket.keys())))
        found = [
            records.try_decode(buckets.GROUPS.name, entry.key, entry.value, partial(_read, entry.revision))
            for entry in entries
            if entry is not None
        ]
        return [group for group in found if group is not None]


def _read(revision: int, data: bytes) -> Group:
    stored = pb.StoredGroup.FromString(data)
    return Group(stored.name, parse_selector(stored.selector), stored.description, revision)
