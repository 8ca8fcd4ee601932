"""The reconciler of this replica: claims, starts, stops and releases instances until they match the desired state.

Owns this replica's lease and its instances. A replica holds one lease key; an instance's record names its replica and
an epoch, and is valid while the lease is. A replica claims an instance by writing it with the next epoch, by
compare-and-set:

    unclaimed, or lease of its replica expired --claim--> ours, epoch + 1 --open store--> running here
    ours --another replica joins, and the hash assigns it there--> stopped, record without replica --> claimed there

`fence` rejects every operation once our own lease may have expired, which is before any other replica sees it expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.chassis.errors import RevisionConflictError, StoreUnavailableError
from services.domain.contract import Contract
from services.domain.errors import YggError
from services.domain.matcher import FailedClause
from services.domain.selectors import parse_selector
from services.loki.model import LogEntry
from services.loki.ports import Clock, Mesh, Publisher
from services.loki.programs import links, model, placement
from services.loki.programs.errors import FencedError, InvalidPackageError
from services.loki.programs.instance import Instance, ReplicaContext
from services.loki.programs.lifecycle import State
from services.loki.programs.model import Package, Version
from services.loki.programs.placement import Deployment, Ref
from services.loki.programs.ports import Fleet, InstanceStatus, Peers, Records
from services.loki.programs.workers import ProgramWorkers

LEASE_S, RENEW_S, MARGIN_S = 3.0, 0.75, 0.5
SETTLE_S, TICK_S, FLUSH_S = 0.02, 0.5, 0.1
PASSING_S = 0.5
"""A shorter start is not logged: when a worker is lost, all its programs restart together."""
MAX_CONCURRENT_CLAIMS = 32
EVERY_MESSAGE = "message:*"
"""The key of handlers that receive all messages of the mesh."""
CONTRACT_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DesiredInstance:
    """A desired instance, with the package to run or the problem that prevents it."""

    deployment: Deployment
    version: Version
    package: Package | None
    packages: tuple[Package, ...] = ()
    problem: str = ""

    @property
    def mark(self) -> tuple[object, ...]:
        """Return the fields that restart an instance when they change."""
        linked = (*self.packages, self.package) if self.package else self.packages
        return (
            self.version,
            tuple(one.manifest.checksum for one in linked),
            self.deployment.generation,
            tuple(sorted(self.deployment.arguments.items(), key=str)),
        )


class Manager:
    """The instances of this replica. They run only while `run` does."""

    def __init__(
        self,
        replica: str,
        records: Records,
        fleet: Fleet,
        workers: ProgramWorkers,
        peers: Peers,
        mesh: Mesh,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self.replica, self._records, self._fleet, self._workers = replica, records, fleet, workers
        self._peers, self._clock = peers, clock
        self.local: dict[Ref, Instance] = {}
        self._marks: dict[Ref, tuple[object, ...]] = {}
        self._listeners: dict[str, set[Instance]] = {}
        self._contracts: dict[str, tuple[int, Contract | None]] = {}
        self._numbers = itertools.count(1)
        self._lease_until_s = 0.0
        self._dirty = asyncio.Event()
        self._unwritten: set[Ref] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = ReplicaContext(
            mesh,
            publisher,
            clock,
            self.fence,
            self._listen,
            self._forget,
            workers.place,
            lambda instance: self._unwritten.add(instance.ref),
            self._on_log,
            self._on_error,
        )

    # The lease.

    def fence(self) -> None:
        """Raise FencedError once this replica's lease may have expired."""
        if self._clock.monotonic() > self._lease_until_s:
            raise FencedError("this replica has lost its lease: another one may run the program by now")

    def living(self) -> list[str]:
        """Return the replicas with a valid lease, in order, this one included while its own is valid."""
        now_s = self._clock.monotonic()
        others = [r for r, seen_s in self._records.replicas.items() if r != self.replica and now_s - seen_s < LEASE_S]
        return sorted([*others, self.replica] if now_s <= self._lease_until_s else others)

    async def _renew(self) -> None:
        while True:
            sent_s = self._clock.monotonic()
            try:
                await self._records.renew(len(self.local))
                lost = sent_s > self._lease_until_s
                self._lease_until_s = sent_s + LEASE_S - MARGIN_S
                if lost:
                    self.wake()
            except YggError as e:
                _log.warning("lease not renewed", extra={"why": e.message})
            await asyncio.sleep(RENEW_S)

    # Reconciling.

    def wake(self) -> None:
        """Reconcile soon, because a record or a device has changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Reconcile until cancelled; then stop every instance and release the lease, so that others take over."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._renew(), name="lease")
                tasks.create_task(self._flush(), name="instance-states")
                tasks.create_task(self._reconcile_often(), name="reconcile")
        finally:
            for ref in list(self.local):
                self._end(ref)

    async def _reconcile_often(self) -> None:
        living: list[str] = []
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._dirty.wait()
            now = self.living()
            if self.replica not in now:
                self._stop_all()
                living = now
                await asyncio.sleep(SETTLE_S)  # the event may stand
                continue
            if not self._dirty.is_set() and now == living:
                continue
            living = now
            self._dirty.clear()
            await asyncio.sleep(SETTLE_S)
            try:
                await self._reconcile(living)
            except (RevisionConflictError, StoreUnavailableError) as e:
                _log.info("reconciled in part", extra={"why": e.message})
                asyncio.get_running_loop().call_later(TICK_S, self.wake)

    def _stop_all(self) -> None:
        if self.local:
            _log.error("lease lost: stopping every program", extra={"programs": len(self.local)})
        for ref in list(self.local):
            self._end(ref)

    def desired(self) -> dict[Ref, DesiredInstance]:
        """Return the desired instances of every deployment."""
        found: dict[Ref, DesiredInstance] = {}
        for deployment in list(self._records.deployments.values()):
            refs = self.refs_of(deployment)
            tried = placement.canaries(deployment, refs)
            steady = self._of(deployment, deployment.version)
            canary = self._of(deployment, deployment.canary.version) if deployment.canary else steady
            for ref in refs:
                found[ref] = canary if ref in tried else steady
        return found

    def _of(self, deployment: Deployment, version: Version) -> DesiredInstance:
        package = self._records.packages.get((deployment.program_id, version))
        if package is None:
            return DesiredInstance(
                deployment, version, None, problem=f"{deployment.program_id} {version} is not loaded"
            )
        try:
            return DesiredInstance(
                deployment, version, package, links.pinned(deployment.pins(version), package, self._records.packages)
            )
        except InvalidPackageError as e:
            return DesiredInstance(deployment, version, package, problem=e.message)

    def refs_of(self, deployment: Deployment) -> list[Ref]:
        """Return the desired instances of a deployment."""
        selector = parse_selector(deployment.target.selector) if deployment.target.selector else None
        labels = {name: device.labels for name, device in self._fleet.devices.items() if device.active}
        return placement.refs(deployment, labels, selector)

    async def _reconcile(self, living: list[str]) -> None:
        desired = self.desired()
        mine = {ref: one for ref, one in desired.items() if placement.owner(ref.key, living) == self.replica}
        for ref in [ref for ref in self.local if ref not in mine]:
            self._end(ref)
            if ref in desired:
                await self._release(ref)
        await self._clean(desired, living)
        ordered = sorted(mine.items(), key=lambda item: (-_priority(item[1]), item[0]))
        for at in range(0, len(ordered), MAX_CONCURRENT_CLAIMS):
            await asyncio.gather(*(self._settle(ref, one) for ref, one in ordered[at : at + MAX_CONCURRENT_CLAIMS]))

    async def _clean(self, desired: Mapping[Ref, DesiredInstance], living: list[str]) -> None:
        """Remove undesired instances; if the deployment is gone, delete the record and the store, too."""
        for key, status in list(self._records.instances.items()):
            if status.ref in desired or (status.replica in living and status.replica != self.replica):
                continue
            if status.ref.deployment in self._records.deployments:
                if status.replica == self.replica:
                    await self._release(status.ref)
            elif placement.owner(key, living) == self.replica or status.replica == self.replica:
                await self._records.delete_instance(status.ref)

    async def _settle(self, ref: Ref, desired: DesiredInstance) -> None:
        status = self._records.instances.get(ref.key)
        running = self.local.get(ref)
        others = status is not None and status.replica not in ("", self.replica)
        if running is not None and others:  # claimed by another replica after our lease expired
            self._end(ref)
            running = None
        if others and status is not None and status.replica in self.living():
            return  # it will release it
        try:
            clauses = await self._unmet(ref, desired)
        except YggError as e:
            _log.info("contract not known", extra={"device": ref.device, "why": e.message})
            asyncio.get_running_loop().call_later(TICK_S, self.wake)
            return
        try:
            await self._bring_about(ref, desired, running, clauses)
        except RevisionConflictError:
            self.wake()

    async def _bring_about(
        self, ref: Ref, desired: DesiredInstance, running: Instance | None, clauses: tuple[FailedClause, ...]
    ) -> None:
        package = desired.package
        if package is None or desired.problem:
            await self._keep_from_running(ref, desired, State.FAILED, desired.problem)
        elif not desired.deployment.running:
            await self._keep_from_running(ref, desired, State.STOPPED, "")
        elif clauses:
            await self._keep_from_running(ref, desired, State.REFUSED, placement.explanation(clauses), clauses)
        elif running is None:
            await self._claim(ref, desired, package)
        elif self._marks.get(ref) != desired.mark:
            self._end(ref)
            await self._claim(ref, desired, package)

    async def _keep_from_running(
        self, ref: Ref, desired: DesiredInstance, state: State, problem: str, clauses: tuple[FailedClause, ...] = ()
    ) -> None:
        if ref in self.local:
            self._end(ref)
        known = self._records.instances.get(ref.key)
        status = InstanceStatus(
            ref,
            desired.deployment.program_id,
            desired.version,
            state,
            problem,
            clauses,
            self.replica,
            known.epoch if known else 0,
            last_error=known.last_error if known else "",
            error_time=known.error_time if known else None,
            reported=known.reported if known else {},
        )
        if status != known:
            await self._records.put_instance(status)

    async def _unmet(self, ref: Ref, desired: DesiredInstance) -> tuple[FailedClause, ...]:
        if not ref.device or desired.package is None or not desired.package.manifest.requires:
            return ()
        contract = await self._contract(ref.device)
        capabilities = contract.capabilities if contract else None
        return placement.unmet(desired.package.manifest.requires, capabilities, contract.refused if contract else ())

    async def _contract(self, device_id: str) -> Contract | None:
        device = self._fleet.devices.get(device_id)
        revision = device.contract_revision if device else 0
        known = self._contracts.get(device_id)
        if known is None or known[0] != revision:
            found = await self._fleet.contract(device_id, CONTRACT_TIMEOUT_S) if revision else None
            known = self._contracts[device_id] = (revision, found)
        return known[1]

    async def _claim(self, ref: Ref, desired: DesiredInstance, package: Package) -> None:
        known = self._records.instances.get(ref.key)
        epoch = (known.epoch if known else 0) + 1
        status = InstanceStatus(
            ref,
            package.manifest.id,
            desired.version,
            State.STARTING,
            replica=self.replica,
            epoch=epoch,
            reported=known.reported if known else {},
        )
        await self._records.put_instance(status)
        try:
            store = await self._records.open_store(ref, epoch)
            given = model.arguments(package.manifest, desired.deployment.arguments)
            for one in (*desired.packages, package):
                model.verify(one)
        except (RevisionConflictError, StoreUnavailableError):
            self.wake()
            raise
        except YggError as e:
            await self._records.put_instance(replace(status, state=State.FAILED, problem=e.message))
            return
        instance = Instance(next(self._numbers), ref, package, given, epoch, store, self._context, desired.packages)
        instance.reported.update(status.reported)
        self.local[ref], self._marks[ref] = instance, desired.mark
        instance.start()

    async def _release(self, ref: Ref) -> None:
        known = self._records.instances.get(ref.key)
        if known is not None and known.replica == self.replica:
            await self._records.put_instance(replace(known, replica="", state=State.LOADED, worker_pid=0))

    def _end(self, ref: Ref) -> None:
        instance = self.local.pop(ref)
        self._marks.pop(ref, None)
        self._unwritten.discard(ref)
        instance.stop()
        self._workers.remove(instance)
        self._unwritten.discard(ref)

    # Callbacks of instances.

    def _listen(self, instance: Instance, key: str) -> None:
        self._listeners.setdefault(key, set()).add(instance)

    def _forget(self, instance: Instance) -> None:
        for key in instance.listening:
            listeners = self._listeners.get(key)
            if listeners is not None:
                listeners.discard(instance)
                if not listeners:
                    del self._listeners[key]

    def dispatch(self, keys: Iterable[str], cause: str, value: str, sender: str = "") -> None:
        """Post an event to the listeners of the keys; a listener to every message does not receive its own."""
        for key in keys:
            for instance in tuple(self._listeners.get(key, ())):
                if key != EVERY_MESSAGE or instance.script.token != sender:
                    instance.post(key, cause, value)

    def listens(self, key: str) -> bool:
        """Return whether an instance of this replica listens."""
        return key in self._listeners

    def _on_log(self, instance: Instance, entry: LogEntry) -> None:
        self._peers.tell_line(instance.ref, entry)

    def _on_error(self, instance: Instance) -> None:
        deployment = self._records.deployments.get(instance.ref.deployment)
        if deployment and deployment.canary and deployment.canary.version == instance.package.manifest.version:
            task = asyncio.create_task(self._count_canary_error(deployment.id, instance.last_error))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _count_canary_error(self, deployment_id: str, error: str) -> None:
        for _ in range(10):
            deployment = self._records.deployments.get(deployment_id)
            if deployment is None or deployment.canary is None:
                return
            canary = replace(deployment.canary, errors=deployment.canary.errors + 1)
            after = replace(deployment, canary=canary)
            if canary.errors >= canary.threshold:
                note = f"{canary.version} was given up after {canary.errors} errors: back to {deployment.version}"
                note += f"; the last: {error}"
                after = replace(deployment, canary=None, note=note[:600])
                _log.warning("rollout given up", extra={"deployment": deployment_id, "why": note})
            try:
                await self._records.put_deployment(after)
                return
            except RevisionConflictError:
                await asyncio.sleep(0.05)
            except YggError as e:
                _log.warning("canary error not counted", extra={"deployment": deployment_id, "why": e.message})
                return

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            refs, self._unwritten = self._unwritten, set()
            passing = {ref for ref in refs if self._passes(ref)}
            self._unwritten |= passing
            ordered = sorted(refs - passing)
            for at in range(0, len(ordered), MAX_CONCURRENT_CLAIMS):
                await asyncio.gather(*(self._write_state(ref) for ref in ordered[at : at + MAX_CONCURRENT_CLAIMS]))

    def _passes(self, ref: Ref) -> bool:
        instance = self.local.get(ref)
        if instance is None or instance.state is not State.STARTING:
            return False
        return self._clock.monotonic() - instance.since_s < PASSING_S

    async def _write_state(self, ref: Ref) -> None:
        instance, known = self.local.get(ref), self._records.instances.get(ref.key)
        if instance is None or known is None or known.replica != self.replica or known.epoch != instance.epoch:
            return
        status = replace(
            known,
            version=instance.package.manifest.version,
            reported=dict(instance.reported),
            state=instance.state,
            problem=instance.problem,
            start_time=instance.start_time,
            restarts=instance.restarts,
            last_error=instance.last_error,
            error_time=instance.error_time,
            quarantined=instance.quarantined,
            worker_pid=instance.worker.pid if instance.worker else 0,
        )
        if status == known:
            return
        try:
            await self._records.put_instance(status)
        except (RevisionConflictError, StoreUnavailableError) as e:
            _log.info("state not written", extra={"program": ref.key, "why": e.message})
            self._unwritten.add(ref)


def _priority(desired: DesiredInstance) -> int:
    return desired.package.manifest.priority if desired.package else 0
