"""Packages, deployments, instances, stores and replicas in key-value buckets, mirrored here as they change.

Implements the ports Records and Store. Writes are based on the revision that the mirror has seen, or that we wrote
since: the write of a faster replica makes ours fail, and the mirror receives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from nats.js import JetStreamContext

from services.chassis import codec
from services.chassis.errors import RevisionConflictError
from services.chassis.kv import Bucket, BucketSpec
from services.chassis.records import decode, try_decode
from services.chassis.streams import Record, follow
from services.domain.values import Value
from services.loki.adapters import program_codec
from services.loki.engines import wire
from services.loki.ports import Clock
from services.loki.programs.errors import FencedError
from services.loki.programs.manager import LEASE_S
from services.loki.programs.model import Package, Version
from services.loki.programs.placement import Deployment, Ref
from services.loki.programs.ports import InstanceStatus, Store
from yggdrasil.loki.v1 import program_pb2 as pb

PROGRAMS = BucketSpec("programs", max_value_bytes=512 * 1024)
STORES = BucketSpec("program_store")
INSTANCES = BucketSpec("program_instances")
REPLICAS = BucketSpec("loki_replicas", ttl_s=LEASE_S)
SCHEMA = 1


class NatsRecords:
    """The mirror. `run` must be running; `ready` returns once it holds every record that existed at the start.

    `changed` is called if the desired state may have changed; `touched` for every change, with the device of an
    instance or None for all else.
    """

    def __init__(self, replica: str, js: JetStreamContext, clock: Clock) -> None:
        self._replica, self._js, self._clock = replica, js, clock
        self.packages: dict[tuple[str, Version], Package] = {}
        self.deployments: dict[str, Deployment] = {}
        self.instances: dict[str, InstanceStatus] = {}
        self.replicas: dict[str, float] = {}
        self.changed: Callable[[], None] = lambda: None
        self.touched: Callable[[str | None], None] = lambda _device: None
        self._seen = {PROGRAMS.name: 0, INSTANCES.name: 0}
        self._revisions: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}
        self._behind = {spec.name for spec in (PROGRAMS, INSTANCES, REPLICAS)}
        self._caught_up = asyncio.Event()

    @property
    def as_of(self) -> int:
        """Return the progress through packages, deployments and instances, own writes included; it only grows."""
        return sum(self._seen.values())

    async def open(self) -> None:
        """Open the buckets, creating those that are missing."""
        for spec in (PROGRAMS, STORES, INSTANCES, REPLICAS):
            self._buckets[spec.name] = await Bucket.create(self._js, spec)

    async def ready(self) -> None:
        """Return once the mirror has caught up."""
        await self._caught_up.wait()

    async def run(self) -> None:
        """Follow the buckets until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for spec in (PROGRAMS, INSTANCES, REPLICAS):
                tasks.create_task(self._follow(spec), name=f"follow-{spec.name}")

    async def leave(self) -> None:
        """Release the lease, so that other replicas need not wait until it expires."""
        await self._buckets[REPLICAS.name].delete(self._replica)

    async def _follow(self, spec: BucketSpec) -> None:
        prefix = spec.subject("")
        async for batch in follow(self._js, spec.stream):
            matters = False
            for record in batch:
                key = record.subject.removeprefix(prefix)
                self._note(spec, record.sequence)
                if record.sequence <= self._revisions.get(f"{spec.name}/{key}", 0):
                    continue  # ours, applied when it was written
                apply = partial(self._apply, spec, key, record)
                matters = bool(try_decode(spec.name, key, record.data, apply)) or matters
            if not batch and spec.name in self._behind:
                self._behind.discard(spec.name)
                matters = True
                if not self._behind:
                    self._caught_up.set()
            if matters:
                self.changed()

    def _apply(self, spec: BucketSpec, key: str, record: Record, _data: bytes) -> bool:
        if spec is REPLICAS:
            return self._replica_seen(key, record.deleted)
        self._revisions[f"{spec.name}/{key}"] = record.sequence
        self.touched(Ref.of_key(key).device if spec is INSTANCES else None)
        if spec is INSTANCES:
            return self._instance_seen(key, record)
        kind, _, name = key.partition(".")
        if kind == "deployment":
            self.deployments.pop(name, None)
            if not record.deleted:
                found = program_codec.deployment_from_proto(pb.StoredDeployment.FromString(record.data).deployment)
                self.deployments[name] = found
        elif kind == "package":
            program_id, _, version = name.partition(".")
            self.packages.pop((program_id, Version.parse(version)), None)
            if not record.deleted:
                package = program_codec.package_from_proto(pb.StoredProgram.FromString(record.data).package)
                self.packages[program_id, package.manifest.version] = package
        return True

    def _replica_seen(self, replica: str, deleted: bool) -> bool:
        known = replica in self.replicas
        if deleted:
            self.replicas.pop(replica, None)
            return known
        self.replicas[replica] = self._clock.monotonic()
        return not known

    def _instance_seen(self, key: str, record: Record) -> bool:
        before = self.instances.pop(key, None)
        if record.deleted:
            return before is not None
        status = program_codec.instance_from_proto(pb.StoredInstance.FromString(record.data).instance)
        self.instances[key] = status
        # The desired state depends on the replica that runs it, not on its status there.
        return before is None or (before.replica, before.epoch) != (status.replica, status.epoch)

    def _all_changed(self) -> None:
        self.touched(None)
        self.changed()

    def _note(self, spec: BucketSpec, sequence: int) -> None:
        if spec.name in self._seen:
            self._seen[spec.name] = max(self._seen[spec.name], sequence)

    async def _write(self, spec: BucketSpec, key: str, value: bytes) -> None:
        known, bucket = self._revisions.get(f"{spec.name}/{key}", 0), self._buckets[spec.name]
        revision = await (bucket.update(key, value, known) if known else bucket.create_key(key, value))
        self._revisions[f"{spec.name}/{key}"] = revision
        self._note(spec, revision)

    async def put_package(self, package: Package, author: str) -> None:
        """Store a version."""
        manifest = package.manifest
        record = pb.StoredProgram(
            schema=SCHEMA,
            package=program_codec.package_to_proto(package),
            load_time=codec.timestamp(self._clock.now()),
            author=author,
        )
        await self._write(PROGRAMS, f"package.{manifest.id}.{manifest.version}", record.SerializeToString())
        self.packages[manifest.id, manifest.version] = package
        self._all_changed()

    async def delete_package(self, program_id: str, version: Version) -> None:
        """Delete a version."""
        await self._buckets[PROGRAMS.name].delete(f"package.{program_id}.{version}")
        self.packages.pop((program_id, version), None)
        self._all_changed()

    async def put_deployment(self, deployment: Deployment) -> Deployment:
        """Write a deployment; return it with its new revision."""
        now: datetime = self._clock.now()
        after = Deployment(
            **{name: getattr(deployment, name) for name in Deployment.__dataclass_fields__}
            | {"revision": deployment.revision + 1, "update_time_s": now.timestamp()}
        )
        record = pb.StoredDeployment(schema=SCHEMA, deployment=program_codec.deployment_to_proto(after))
        await self._write(PROGRAMS, f"deployment.{after.id}", record.SerializeToString())
        self.deployments[after.id] = after
        self._all_changed()
        return after

    async def delete_deployment(self, deployment_id: str) -> None:
        """Delete the deployment; the replicas that run its instances clean them up."""
        await self._buckets[PROGRAMS.name].delete(f"deployment.{deployment_id}")
        self.deployments.pop(deployment_id, None)
        self._all_changed()

    async def put_instance(self, status: InstanceStatus) -> None:
        """Write an instance by compare-and-set on the known record."""
        record = pb.StoredInstance(schema=SCHEMA, instance=program_codec.instance_to_proto(status))
        await self._write(INSTANCES, status.ref.key, record.SerializeToString())
        self.instances[status.ref.key] = status
        self.touched(status.ref.device)

    async def delete_instance(self, ref: Ref) -> None:
        """Delete an instance and its store."""
        await self._buckets[STORES.name].delete(ref.key)
        await self._buckets[INSTANCES.name].delete(ref.key)
        self.instances.pop(ref.key, None)
        self.touched(ref.device)

    async def open_store(self, ref: Ref, epoch: int) -> Store:
        """Open the store under this epoch; writes of previous owners fail."""
        bucket = self._buckets[STORES.name]
        entry = await bucket.get(ref.key)
        parse = pb.StoredStore.FromString
        found = decode(STORES.name, ref.key, entry.value, parse) if entry else pb.StoredStore(schema=SCHEMA)
        if found.epoch > epoch:
            raise RevisionConflictError(f"{ref.key}: its store is of epoch {found.epoch}, a later one than {epoch}")
        store = NatsStore(bucket, ref.key, epoch, codec.values_from_proto(found.entries), entry)
        if entry is not None or epoch > 1:  # even if the store is empty: the previous owner may still be about to write
            await store.write(store.entries)
        return store

    async def renew(self, instances: int) -> None:
        """Renew the lease of this replica."""
        record = pb.StoredReplica(schema=SCHEMA, replica=self._replica, instances=instances)
        await self._buckets[REPLICAS.name].put(self._replica, record.SerializeToString())


class NatsStore:
    """Implements the port Store: one record, replaced by compare-and-set."""

    def __init__(self, bucket: Bucket, key: str, epoch: int, entries: dict[str, Value], entry: object) -> None:
        self._bucket, self._key, self._epoch = bucket, key, epoch
        self._revision = int(getattr(entry, "revision", 0))
        self.entries: Mapping[str, Value] = entries
        self.size_bytes = _size(entries)

    async def write(self, entries: Mapping[str, Value]) -> None:
        """Replace all; raise FencedError if a later owner has written."""
        record = pb.StoredStore(schema=SCHEMA, epoch=self._epoch, entries=codec.values_to_proto(entries))
        value = record.SerializeToString()
        try:
            if self._revision:
                self._revision = await self._bucket.update(self._key, value, self._revision)
            else:
                self._revision = await self._bucket.create_key(self._key, value)
        except RevisionConflictError as e:
            raise FencedError("another replica has taken this program over: nothing was stored") from e
        self.entries, self.size_bytes = dict(entries), _size(entries)


def _size(entries: Mapping[str, Value]) -> int:
    return len(wire.dump(wire.to_json(dict(entries)))) if entries else 0
