"""The conductor: asks each rollout's rules what is to be done, and does it. One replica conducts, by a lease.

Nothing depends on there being one only: a device is started by compare-and-set of its own record, so of two who try,
one does. Nothing depends on it living: each round begins with what is stored.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from services.domain.errors import YggError
from services.ota.model import release as fitness
from services.ota.model import rollout as rules
from services.ota.model import update as updates
from services.ota.model.release import Release
from services.ota.model.rollout import Candidate, Rollout, RolloutState
from services.ota.model.update import Device, Stage, Update
from services.ota.ports import Events, Known, Lease, Registry, Row, Table
from services.ota.service.releases import Clock, Releases
from services.ota.service.table import edit, write

ROUND_S = 1.0
SETTLE_S = 0.05
REST = 4
"""After it has thought of a large fleet it rests for so many times as long: what devices say comes first."""
AT_ONCE = 32
"""Records written side by side."""
STARTS_A_ROUND = 128
"""Then it looks again: a halt does not wait for a thousand starts."""
LISTING_S = 2.0
REMIND_S = 3.0
_log = logging.getLogger(__name__)


class Fleet:
    """The devices that a rollout is for, as the registry and the devices' own records tell."""

    def __init__(self, devices: Table[Device], registry: Registry, releases: Releases, now: Clock) -> None:
        self._devices, self._registry, self._releases, self._now = devices, registry, releases, now
        self._listings: dict[str, tuple[float, list[Known]]] = {}

    async def candidates(self, rollout: Rollout) -> list[Candidate]:
        """Raises RemoteError where the registry does not answer, ReleaseNotFoundError."""
        release = self._releases.get(rollout.spec.release_id)
        floor = self._releases.floor(release.manifest.device_class)
        known = await self._listing(rollout.spec.selector)
        found = [self._candidate(rollout, release, floor, device) for device in known]
        return [c for c in found if c is not None]

    def started(self, rollout: Rollout) -> list[Device]:
        """Devices whose update is of this rollout."""
        found = [row.value for row in self._devices.rows()]
        return [d for d in found if d.update and d.update.rollout_id == rollout.id]

    def _candidate(self, rollout: Rollout, release: Release, floor: int, known: Known) -> Candidate | None:
        row = self._devices.get(known.device_id)
        device = row.value if row else Device(known.device_id)
        update = device.update
        if update and update.rollout_id == rollout.id:
            return Candidate(known.device_id, known.online, update)
        if rollout.rolls_back and not (
            update and update.rollout_id == rollout.rolls_back and update.stage is Stage.CONFIRMED
        ):
            return None
        if known.device_class != release.manifest.device_class:
            return Candidate(known.device_id, known.online, update, _other(known)) if rollout.spec.selector else None
        return Candidate(known.device_id, known.online, update, _unfit(rollout, release, floor, device))

    async def _listing(self, selector: str) -> list[Known]:
        at, found = self._listings.get(selector, (0.0, []))
        if self._now() - at > LISTING_S:
            found = await self._registry.matching(selector)
            self._listings = {k: v for k, v in self._listings.items() if self._now() - v[0] <= LISTING_S}
            self._listings[selector] = (self._now(), found)
        return found


class Conductor:
    """Runs rounds until cancelled: each second, and soon after a device's record has changed."""

    def __init__(
        self,
        rollouts: Table[Rollout],
        devices: Table[Device],
        fleet: Fleet,
        events: Events,
        lease: Lease,
        releases: Releases,
        now: Clock,
    ) -> None:
        self._rollouts, self._devices, self._fleet = rollouts, devices, fleet
        self._events, self._lease, self._releases, self._now = events, lease, releases, now
        self._reminded: dict[str, float] = {}
        self._thought_s = 0.0

    async def run(self) -> None:
        """Conducts while this replica has the lease; a round that fails is repeated."""
        while True:
            self._thought_s = 0.0
            try:
                if await self._lease.held():
                    await self.round()
            except YggError as e:
                _log.warning("a round failed", extra={"why": e.message})
            await self._pause()

    async def _pause(self) -> None:
        waits = [asyncio.create_task(t.changed()) for t in (self._devices, self._rollouts)]
        try:
            await asyncio.wait(waits, timeout=ROUND_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        rest_s = min(REST * self._thought_s, ROUND_S)
        await asyncio.sleep(max(SETTLE_S, rest_s))  # what changes at once is taken together

    async def round(self) -> None:
        """One round over all rollouts that are not at their end."""
        for row in self._rollouts.rows():
            if row.value.state not in rules.ENDED or self._loose_ends(row.value):
                await self._conduct(row)

    def _loose_ends(self, rollout: Rollout) -> bool:
        if rollout.state is RolloutState.DONE:
            return rollout.spec.late_joiners
        return any(d.busy for d in self._fleet.started(rollout))

    async def _conduct(self, row: Row[Rollout]) -> None:
        rollout, began = row.value, asyncio.get_running_loop().time()
        candidates = await self._fleet.candidates(rollout)
        step = rules.step(rollout, candidates, self._now())
        self._thought_s += asyncio.get_running_loop().time() - began
        if step.rollout != rollout and not await write(self._rollouts, row, row.key, step.rollout):
            return  # a person was faster; the next round sees what they want
        for kind in step.events:
            await self._events.tell(rollout.id, kind, text=step.rollout.reason)
        late = partial(updates.failed, why="it took too long")
        await _each(step.expire, lambda device_id: self._change(device_id, rollout, late))
        await _each(step.stop, lambda device_id: self._change(device_id, rollout, updates.stopped))
        await _each(step.start[:STARTS_A_ROUND], lambda device_id: self._start(device_id, rollout))
        await self._remind(rollout, candidates)
        if step.rollout.state is RolloutState.HALTED and rollout.spec.roll_back_on_halt and not rollout.rolls_back:
            await self._roll_back(step.rollout)

    async def _start(self, device_id: str, rollout: Rollout) -> None:
        """The one place where a device is started: by compare-and-set of the record that the rules were asked of."""
        row = self._devices.get(device_id)
        if row is None or row.value.busy:
            return
        update = Update(secrets.randbits(63) | 1, rollout.id, rollout.spec.release_id, self._now())
        if await write(self._devices, row, device_id, updates.assign(row.value, update)):
            await self._events.tell(rollout.id, "started", device_id)
            await self._tell_bridge(rollout, device_id)

    async def _change(self, device_id: str, rollout: Rollout, change: updates.Change) -> None:
        def only_mine(device: Device) -> Device:
            mine = device.update is not None and device.update.rollout_id == rollout.id
            return change(device) if mine else device

        before, after = await edit(self._devices, device_id, lambda: Device(device_id), only_mine)
        if after.update and before.update and after.update != before.update:
            if after.update.stage is not before.update.stage:
                await self._events.tell(rollout.id, after.update.stage.value, device_id, after.update.why)
            else:
                await self._tell_bridge(rollout, device_id)

    async def _remind(self, rollout: Rollout, candidates: Sequence[Candidate]) -> None:
        """Bridges are told again of devices that wait: a message may be lost, or a patch is ready by now."""
        for candidate in candidates:
            update = rules.mine(rollout, candidate)
            waits = update and candidate.online and (update.stage is Stage.ASSIGNED or update.stop)
            if waits and self._now() - self._reminded.get(candidate.device_id, 0.0) > REMIND_S:
                await self._tell_bridge(rollout, candidate.device_id)

    async def _tell_bridge(self, rollout: Rollout, device_id: str) -> None:
        if len(self._reminded) > 100_000:
            self._reminded.clear()
        self._reminded[device_id] = self._now()
        await self._events.tell(rollout.id, "attend", device_id)

    async def _roll_back(self, rollout: Rollout) -> None:
        key = back_id(rollout.id)
        if self._rollouts.get(key) is None:
            try:
                before = self._releases.before(self._releases.get(rollout.spec.release_id))
            except YggError as e:
                _log.warning("nothing to roll back to", extra={"rollout": rollout.id, "why": e.message})
                return
            if await write(self._rollouts, None, key, back(rollout, before, self._now())):
                await self._events.tell(rollout.id, "rolling_back", text=f"to {before.manifest.version} by {key}")


async def _each(device_ids: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    """AT_ONCE at a time, in order; raises the first error once those beside it are done."""
    for start in range(0, len(device_ids), AT_ONCE):
        done = await asyncio.gather(*map(work, device_ids[start : start + AT_ONCE]), return_exceptions=True)
        for outcome in done:
            if outcome is not None:
                raise outcome


def back_id(rollout_id: str) -> str:
    """The id of the rollout that brings the devices of another one back; one for each."""
    return f"{rollout_id}-back"


def back(rollout: Rollout, release: Release, now: float) -> Rollout:
    """The rollout that brings the devices of `rollout` to an earlier release, all at once."""
    spec = replace(
        rollout.spec,
        release_id=release.id,
        waves=(rules.ALL,),
        soak_s=0,
        halt_count=0,
        halt_percent=100,
        approval=False,
        roll_back_on_halt=False,
        late_joiners=True,  # a device that was on trial when it began may still confirm
    )
    return Rollout(back_id(rollout.id), spec, now, rolls_back=rollout.id)


def _unfit(rollout: Rollout, release: Release, floor: int, device: Device) -> str:
    why = fitness.unfit(release, device.standing, floor)
    if not why and release.id in device.fallen and not (rollout.spec.retry_fallen_back or rollout.rolls_back):
        why = "it fell back from this release before"
    return why


def _other(known: Known) -> str:
    return f"its class is {known.device_class or 'not known yet'}"
