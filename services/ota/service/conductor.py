"""The conductor: evaluates each rollout and executes the decisions. One replica conducts, by a lease.

Correctness depends neither on a single conductor, since a device is started by compare-and-set of its own record and
only one of two attempts succeeds, nor on its survival, since each round starts from the stored state.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from services.domain.errors import YggError
from services.ota.model import rollout as rules
from services.ota.model import update as updates
from services.ota.model.release import Release
from services.ota.model.rollout import Candidate, Rollout, RolloutState, Step
from services.ota.model.update import Device, Stage, Update
from services.ota.ports import Events, Lease, Row, Table
from services.ota.service.fleet import Fleet
from services.ota.service.releases import Clock, Releases
from services.ota.service.table import edit, write

ROUND_INTERVAL_S = 1.0
"""Time between rounds without changes, in seconds."""
DEBOUNCE_S = 0.05
"""Delay after a change, so that one round processes concurrent changes, in seconds."""
MAX_DUTY_CYCLE = 0.2
"""Maximum share of time for evaluating rollouts: with a large fleet, reports of devices come first."""
MAX_CONCURRENT_WRITES = 32
"""Device records written concurrently."""
MAX_STARTS_PER_ROUND = 128
"""Devices started before the rollout is evaluated again, so that a halt takes effect soon."""
WAKE_INTERVAL_S = 3.0
"""Time between repeated wake-ups for one device, in seconds."""
_log = logging.getLogger(__name__)


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
        self._woken: dict[str, float] = {}
        self._errors: dict[str, str] = {}
        self._busy_s = 0.0
        self._first_seen: dict[int, float] = {}

    async def run(self) -> None:
        """Conduct while this replica has the lease; a failed round is repeated."""
        while True:
            self._busy_s = 0.0
            try:
                if await self._lease.held():
                    await self.round()
            except YggError as e:
                _log.warning("round failed", extra={"why": e.message})
            await self._pause()

    async def _pause(self) -> None:
        waits = [asyncio.create_task(t.changed()) for t in (self._devices, self._rollouts)]
        try:
            await asyncio.wait(waits, timeout=ROUND_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        rest_s = min((1 / MAX_DUTY_CYCLE - 1) * self._busy_s, ROUND_INTERVAL_S)
        await asyncio.sleep(max(DEBOUNCE_S, rest_s))

    async def round(self) -> None:
        """Run one round over all rollouts that are live or have active updates. A failure of one stops no other."""
        busy = {d.update.rollout_id for row in self._devices.rows() if (d := row.value).update and d.busy}
        for row in self._rollouts.rows():
            if row.value.final is not None and row.key not in busy:
                continue
            try:
                await self._conduct(row)
                self._errors.pop(row.key, None)
            except YggError as e:
                if self._errors.get(row.key) != e.message:  # log once per outage, not per round
                    _log.warning("rollout delayed", extra={"rollout": row.key, "why": e.message})
                self._errors[row.key] = e.message

    async def _conduct(self, row: Row[Rollout]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            candidates = await self._fleet.candidates(row.value)
        except YggError:  # aborts, halts and timeouts do not depend on the registry
            await self._end(
                rules.endings(row.value, self._with_sane_starts(self._fleet.members(row.value)), self._now())
            )
            raise
        candidates = self._with_sane_starts(candidates)
        step = rules.step(row.value, candidates, self._now())
        self._busy_s += asyncio.get_running_loop().time() - began
        rollout = step.rollout
        if rollout != row.value and not await self._store(row, step, candidates):
            return  # changed by a user; the next round evaluates the new state
        await self._end(step)
        await _each(step.start[:MAX_STARTS_PER_ROUND], lambda device_id: self._start(device_id, rollout))
        await self._wake_waiting(rollout, candidates)
        roll_back = rollout.state is RolloutState.HALTED and rollout.spec.roll_back_on_halt and not rollout.rolls_back
        if roll_back and step.counts.confirmed:
            await self._roll_back(rollout)

    def _with_sane_starts(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Replace start times in the future, after the clock was set back, by the time when they were first seen."""
        now, found, first = self._now(), list[Candidate](), dict[int, float]()
        for candidate in candidates:
            update = candidate.update
            if update is None or update.started_unix_s <= now:
                found.append(candidate)
                continue
            first[update.id] = self._first_seen.get(update.id, now)
            found.append(replace(candidate, update=replace(update, started_unix_s=first[update.id])))
        self._first_seen.update(first)
        return found

    async def _store(self, row: Row[Rollout], step: Step, candidates: Sequence[Candidate]) -> bool:
        """Store the rollout, its members first if it is final; return False after a concurrent change."""
        if step.rollout.final is not None:
            await self._fleet.record_members(step.rollout, candidates)
        if not await write(self._rollouts, row, row.key, step.rollout):
            return False
        for kind in step.events:
            await self._events.publish(row.key, kind, text=step.rollout.reason)
        return True

    async def _end(self, step: Step) -> None:
        """Expire updates that took too long, and stop updates."""
        rollout = step.rollout
        late = partial(updates.timed_out, timeout_s=rollout.spec.device_timeout_s)
        stop = partial(updates.stopping, why=f"the rollout was {rollout.state.value}")
        await _each(step.expire, lambda device_id: self._change(device_id, rollout, late))
        await _each(step.stop, lambda device_id: self._change(device_id, rollout, stop))

    async def _start(self, device_id: str, rollout: Rollout) -> None:
        """Start a device: the only place, by compare-and-set of the record that the decision was made for."""
        now, row = self._rollouts.get(rollout.id), self._devices.get(device_id)
        if now is None or now.value.state is not RolloutState.RUNNING or row is None or row.value.busy:
            return
        member = row.value.member(rollout.id)
        if (member and member.stage is not Stage.STOPPED) or updates.crowded(row.value, rollout.id, self._fleet.keeps):
            return
        update = Update(secrets.randbits(63) | 1, rollout.id, rollout.spec.release_id, self._now())
        if await write(self._devices, row, device_id, updates.assign(row.value, update, self._fleet.keeps)):
            await self._events.publish(rollout.id, "started", device_id)
            await self._wake_bridge(rollout, device_id)

    async def _change(self, device_id: str, rollout: Rollout, change: updates.Change) -> None:
        def change_own(device: Device) -> Device:
            own = device.update is not None and device.update.rollout_id == rollout.id
            return change(device) if own else device

        before, after = await edit(self._devices, device_id, lambda: Device(device_id), change_own)
        if after.update and before.update and after.update != before.update:
            if after.update.stage is not before.update.stage:
                await self._events.publish(rollout.id, after.update.stage.value, device_id, after.update.why)
            else:
                await self._wake_bridge(rollout, device_id)

    async def _wake_waiting(self, rollout: Rollout, candidates: Sequence[Candidate]) -> None:
        """Repeat the wake-up of bridges for waiting devices: a message may be lost, or a patch may be ready now."""
        for candidate in candidates:
            update = rules.update_in(rollout, candidate)
            waits = update and candidate.online and (update.stage is Stage.ASSIGNED or update.stop)
            if waits and self._now() - self._woken.get(candidate.device_id, 0.0) > WAKE_INTERVAL_S:
                await self._wake_bridge(rollout, candidate.device_id)

    async def _wake_bridge(self, rollout: Rollout, device_id: str) -> None:
        if len(self._woken) > 100_000:
            self._woken.clear()
        self._woken[device_id] = self._now()
        await self._events.publish(rollout.id, "attend", device_id)

    async def _roll_back(self, rollout: Rollout) -> None:
        key = rollback_id(rollout.id)
        if self._rollouts.get(key) is None:
            try:
                before = self._releases.before(self._releases.get(rollout.spec.release_id))
            except YggError as e:
                _log.warning("rollback skipped", extra={"rollout": rollout.id, "why": e.message})
                return
            if await write(self._rollouts, None, key, rollback_of(rollout, before, self._now())):
                await self._events.publish(rollout.id, "rolling_back", text=f"to {before.manifest.version} by {key}")


async def _each(device_ids: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Run `work` for all devices in batches of MAX_CONCURRENT_WRITES; raise the first error after its batch."""
    for start in range(0, len(device_ids), MAX_CONCURRENT_WRITES):
        done = await asyncio.gather(
            *map(work, device_ids[start : start + MAX_CONCURRENT_WRITES]), return_exceptions=True
        )
        for outcome in done:
            if outcome is not None:
                raise outcome


def rollback_id(rollout_id: str) -> str:
    """Return the id of the only rollout that rolls another one back."""
    return f"{rollout_id}-back"


def rollback_of(rollout: Rollout, release: Release, now: float) -> Rollout:
    """Return the rollout that brings the devices of `rollout` to an earlier release, in one wave."""
    spec = replace(
        rollout.spec,
        release_id=release.id,
        waves=(rules.ALL,),
        soak_s=0,
        halt_count=0,
        halt_percent=100,
        approval=False,
        roll_back_on_halt=False,
        late_joiners=True,  # a device on trial at the start may still confirm
    )
    return Rollout(rollback_id(rollout.id), spec, now, rolls_back=rollout.id)
