"""The devices of a rollout: members by their own records, candidates by the registry and the scope.

The scope is the list of devices that matched at the start of the rollout. It is stored once, as is the list of members
at the end; both stay in memory only while the rollout lives.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

from services.ota.model import release as fitness
from services.ota.model import rollout as rules
from services.ota.model import update as updates
from services.ota.model.release import Release
from services.ota.model.rollout import Candidate, Rollout
from services.ota.model.update import Device, Stage, Update
from services.ota.ports import Archive, KnownDevice, Registry, Table
from services.ota.service.releases import Clock, Releases

LISTING_TTL_S = 2.0
"""How long a listing of the registry is cached, in seconds."""
INACTIVE = "the device is no longer active"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MemberUpdate:
    """A member and its update; fields as in DeviceUpdate."""

    device_id: str
    stage: Stage
    written_bytes: int
    size_bytes: int
    delta: bool
    why: str
    started_unix_s: float


class Fleet:
    """Devices of rollouts, from the tables, the registry and the archive."""

    def __init__(
        self,
        devices: Table[Device],
        rollouts: Table[Rollout],
        registry: Registry,
        releases: Releases,
        archive: Archive,
        now: Clock,
    ) -> None:
        self._devices, self._rollouts, self._registry = devices, rollouts, registry
        self._releases, self._archive, self._now = releases, archive, now
        self._listings: dict[str, tuple[float, list[KnownDevice]]] = {}
        self._scopes: dict[str, frozenset[str]] = {}

    def members(self, rollout: Rollout, known: Mapping[str, KnownDevice] = MappingProxyType({})) -> list[Candidate]:
        """Return the devices that the rollout has started, online as in `known`; without I/O."""
        found = []
        for row in self._devices.rows():
            device = row.value
            if (update := device.member(rollout.id)) is not None:
                here = known.get(device.device_id)
                past = None if update is device.update else update
                found.append(Candidate(device.device_id, here is not None and here.online, device.update, "", past))
        return found

    async def candidates(self, rollout: Rollout) -> list[Candidate]:
        """Return members, whatever their current labels, and matching devices.

        Raises RemoteError, StoreUnavailableError, ReleaseNotFoundError.
        """
        release = self._releases.get(rollout.spec.release_id)
        floor = self._releases.floor(release.manifest.device_class)
        known = {each.device_id: each for each in await self._listing(rollout.spec.selector)}
        scope = await self._scope(rollout)
        found = self.members(rollout, known)
        members = {member.device_id for member in found}
        if any(member.update and member.update.stage is Stage.STOPPED for member in found):
            anywhere = {each.device_id: each for each in await self._listing("")}  # labels may have changed
            found = [self._restartable(rollout, release, floor, member, anywhere) for member in found]
        for here in known.values():
            if here.device_id in members:
                continue
            late = scope is not None and here.device_id not in scope
            if (candidate := self._candidate(rollout, release, floor, here, late=late)) is not None:
                found.append(candidate)
        return found

    def _restartable(
        self, rollout: Rollout, release: Release, floor: int, member: Candidate, anywhere: Mapping[str, KnownDevice]
    ) -> Candidate:
        """Return a stopped member with the facts that decide whether it starts again."""
        if member.update is None or member.update.stage is not Stage.STOPPED:
            return member
        here, row = anywhere.get(member.device_id), self._devices.get(member.device_id)
        unfit = INACTIVE if here is None or row is None else _unfit_reason(rollout, release, floor, row.value)
        return replace(member, online=here is not None and here.online, unfit=unfit)

    async def record_scope(self, rollout: Rollout, candidates: list[Candidate]) -> None:
        """Store which devices match at the start; call it before the rollout itself is stored."""
        ids = sorted(c.device_id for c in candidates)
        await self._archive.put(f"{rollout.id}.scope", ids)
        self._scopes[rollout.id] = frozenset(ids)

    async def started(self, rollout: Rollout) -> list[MemberUpdate]:
        """Return members and their updates in this rollout, by id; for an ended rollout, as of its end."""
        if rollout.final is None:
            return _started(rollout, self.members(rollout))
        rows = await self._archive.get(_members_key(rollout)) or []
        return [MemberUpdate(**(row | {"stage": Stage(row["stage"])})) for row in rows]

    async def record_members(self, rollout: Rollout, candidates: Sequence[Candidate]) -> None:
        """Store the members of an ended rollout; call it before its final counts are stored."""
        found = _started(rollout, candidates)
        await self._archive.put(_members_key(rollout), [asdict(each) | {"stage": each.stage.value} for each in found])
        self._scopes.pop(rollout.id, None)

    def keeps(self, rollout_id: str) -> bool:
        """Return whether members of a rollout must be kept because it may still need them."""
        row = self._rollouts.get(rollout_id)
        return row is None or row.value.final is None

    async def _scope(self, rollout: Rollout) -> frozenset[str] | None:
        """Return the scope, or None if every match belongs to it. A lost scope admits no device."""
        if not rollout.scoped:
            return None
        if rollout.id not in self._scopes:
            ids = await self._archive.get(f"{rollout.id}.scope")
            if ids is None:
                _log.warning("rollout scope lost", extra={"rollout": rollout.id})
            self._scopes[rollout.id] = frozenset(ids or ())
        return self._scopes[rollout.id]

    def _candidate(
        self, rollout: Rollout, release: Release, floor: int, known: KnownDevice, *, late: bool
    ) -> Candidate | None:
        row = self._devices.get(known.device_id)
        device = row.value if row else Device(known.device_id)
        update = device.update
        if rollout.rolls_back and not (
            update and update.rollout_id == rollout.rolls_back and update.stage is Stage.CONFIRMED
        ):
            return None
        if known.device_class != release.manifest.device_class:
            why = f"the device class is {known.device_class or 'not known yet'}"
            return Candidate(known.device_id, known.online, update, why, late=late) if rollout.spec.selector else None
        why = _unfit_reason(rollout, release, floor, device)
        if not why and late and device.status.sequence > release.manifest.sequence:
            why = f"it joined later and runs newer release {device.status.sequence}"
        if not why and not rollout.rolls_back:
            why = self._superseded_by(rollout, update)
        if not why and updates.crowded(device, rollout.id, self.keeps):
            why = f"it is a member of {updates.MAX_PAST} active rollouts; abort those no longer needed"
        return Candidate(known.device_id, known.online, update, why, late=late)

    def _superseded_by(self, rollout: Rollout, update: Update | None) -> str:
        """Return why a device already updated by a later rollout is skipped, or ""."""
        if update is None or update.stage is not Stage.CONFIRMED:
            return ""
        other = self._rollouts.get(update.rollout_id)
        later = other is not None and other.value.create_unix_s > rollout.create_unix_s
        return f"{update.rollout_id} was started later and has updated it" if later else ""

    async def _listing(self, selector: str) -> list[KnownDevice]:
        at, found = self._listings.get(selector, (0.0, []))
        if self._now() - at > LISTING_TTL_S:
            found = await self._registry.matching(selector)
            self._listings = {k: v for k, v in self._listings.items() if self._now() - v[0] <= LISTING_TTL_S}
            self._listings[selector] = (self._now(), found)
        return found


def _members_key(rollout: Rollout) -> str:
    return f"{rollout.id}.members"


def _started(rollout: Rollout, candidates: Sequence[Candidate]) -> list[MemberUpdate]:
    found = [(c.device_id, u) for c in candidates if (u := rules.update_in(rollout, c))]
    return sorted(
        (MemberUpdate(i, u.stage, u.written_bytes, u.size_bytes, u.delta, u.why, u.started_unix_s) for i, u in found),
        key=lambda each: each.device_id,
    )


def _unfit_reason(rollout: Rollout, release: Release, floor: int, device: Device) -> str:
    why = fitness.unfit(release, device.status, floor)
    if not why and release.id in device.fallen_back and not (rollout.spec.retry_failed or rollout.rolls_back):
        why = "it reverted from or refused this release before"
    return why
