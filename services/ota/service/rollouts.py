"""Use cases of rollouts: start, dry run, get, list, watch, control, roll back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace

from services.chassis.errors import RemoteError, RevisionConflictError
from services.domain import selectors
from services.domain.errors import in_field
from services.ota.errors import (
    NotDelegatedError,
    NothingToUpdateError,
    ReleaseRefusedError,
    RolloutNotFoundError,
    RolloutStateError,
)
from services.ota.model import rollout as rules
from services.ota.model.rollout import Candidate, Counts, Rollout, RolloutState, Spec
from services.ota.model.update import Stage
from services.ota.ports import Events, Row, Table
from services.ota.service.conductor import rollback_id, rollback_of
from services.ota.service.fleet import Fleet, MemberUpdate
from services.ota.service.releases import Clock, Releases
from services.ota.service.table import edit, write

POLL_INTERVAL_S = 0.25
"""Interval between checks of a watched rollout, in seconds."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """A rollout with the values derived for display."""

    rollout: Rollout
    counts: Counts
    version: str
    wave_target: int
    halt_at: int
    written_bytes: int = 0
    download_bytes: int = 0


class Rollouts:
    """Rollouts in their table."""

    def __init__(self, table: Table[Rollout], fleet: Fleet, releases: Releases, events: Events, now: Clock) -> None:
        self._table, self._fleet, self._releases = table, fleet, releases
        self._events, self._now = events, now

    async def start(self, spec: Spec, *, dry_run: bool) -> tuple[View, list[Candidate]]:
        """Start a rollout; return it with the unfit devices. Raises errors of the rules and of the release."""
        with in_field("spec"):
            rules.check(spec)
            selectors.parse_selector(spec.selector)
        release = self._releases.get(spec.release_id)
        self._releases.check_offerable(release)
        if not self._releases.delegated:
            raise NotDelegatedError
        spec = replace(spec, release_id=release.id)
        rollout = Rollout("" if dry_run else self._new_id(), spec, self._now())
        candidates = await self._fleet.candidates(rollout)  # not scoped yet: no device is late
        unfit = [c for c in candidates if c.unfit]
        if len(unfit) == len(candidates) and not spec.late_joiners and not dry_run:
            why = f": {unfit[0].device_id}: {unfit[0].unfit}" if unfit else ""
            raise NothingToUpdateError(
                f"none of {len(candidates)} devices can be updated{why}", hint="Add --dry-run to see why."
            )
        if not dry_run:
            rollout = replace(rollout, scoped=True)
            await self._fleet.record_scope(rollout, candidates)
            if not await write(self._table, None, rollout.id, rollout):
                raise RevisionConflictError(f"rollout {rollout.id} was started concurrently", hint="Try again.")
            await self._events.publish(rollout.id, "created", text=release.manifest.version)
            _log.info("rollout created", extra={"rollout": rollout.id, "release": release.id})
        return self._view(rollout, candidates), unfit

    async def get(self, rollout_id: str) -> View:
        """Return the current view; raises RolloutNotFoundError."""
        return await self._current_view(self._row(rollout_id).value)

    async def all(self) -> list[View]:
        """Return all rollouts, newest first."""
        found = sorted((row.value for row in self._table.rows()), key=lambda r: -r.create_unix_s)
        return [await self._current_view(rollout) for rollout in found]

    async def watch(self, rollout_id: str) -> AsyncGenerator[View, None]:
        """Yield the view immediately and after every change, until the rollout has ended and no update is active."""
        last = None
        while True:
            view = await self.get(rollout_id)
            if view != last:
                yield view
                last = view
            if _settled(view) and view.counts.active == 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.sleep(POLL_INTERVAL_S)

    async def control(self, rollout_id: str, change: Callable[[Rollout, Counts], Rollout], kind: str) -> View:
        """Apply a change by a user; raises RolloutStateError. Needs only the rollout's members."""
        self._row(rollout_id)  # raises RolloutNotFoundError

        def changed(rollout: Rollout) -> Rollout:
            found = change(rollout, rules.count(rollout, self._fleet.members(rollout)))
            if found.state in rules.LIVE and rollout.state not in rules.LIVE:
                self._check_not_rolling_back(rollout)
            return found

        before, after = await edit(self._table, rollout_id, _not_found, changed)
        if after != before:
            await self._events.publish(rollout_id, kind, text=after.reason)
        try:
            return await self._current_view(after)
        except RemoteError:  # the registry is unavailable, but the change is stored
            return self._view(after, self._fleet.members(after))

    def _check_not_rolling_back(self, rollout: Rollout) -> None:
        """Refuse to resume a rollout whose devices are being rolled back, which would be undone one by one."""
        other = self._table.get(rollback_id(rollout.id))
        if other is not None and other.value.state is not RolloutState.ABORTED:
            state = f"being rolled back by {other.key}; abort that rollout first"
            raise RolloutStateError(rollout.id, state)

    def _new_id(self) -> str:
        while self._table.get(found := f"r-{secrets.token_hex(3)}") is not None:
            continue
        return found

    async def roll_back(self, rollout_id: str, release_id: str) -> View:
        """Bring the devices that this rollout has updated to an earlier release; idempotent."""
        rollout = self._row(rollout_id).value
        if rollout.state in rules.LIVE or rollout.awaiting_late_joiners:
            raise RolloutStateError(rollout_id, f"{rollout.state.value}; pause or abort it first")
        key = rollback_id(rollout_id)
        if not release_id and self._table.get(key) is not None:
            return await self.get(key)
        counts = rules.count(rollout, self._fleet.members(rollout))
        if not counts.confirmed and not counts.active:
            raise NothingToUpdateError(f"no device runs the release of {rollout_id}; there is nothing to roll back")
        current = self._releases.get(rollout.spec.release_id)
        release = self._releases.get(release_id) if release_id else self._releases.before(current)
        if release.manifest.device_class != current.manifest.device_class or release.id == current.id:
            raise ReleaseRefusedError("the target must be another release of the same device class")
        self._releases.check_offerable(release)
        if self._table.get(key) is None and await write(
            self._table, None, key, rollback_of(rollout, release, self._now())
        ):
            await self._events.publish(rollout_id, "rolling_back", text=f"to {release.manifest.version} by {key}")
        there = self._row(key).value.spec.release_id
        if there != release.id:
            version = self._releases.get(there).manifest.version
            raise RolloutStateError(rollout_id, f"already rolled back to {version}, another release, by {key}")
        return await self.get(key)

    async def updates(self, rollout_id: str) -> list[MemberUpdate]:
        """Return the started devices, by id."""
        return await self._fleet.started(self._row(rollout_id).value)

    async def _current_view(self, rollout: Rollout) -> View:
        ended = rollout.final is not None
        return self._view(rollout, [] if ended else await self._fleet.candidates(rollout))

    def _row(self, rollout_id: str) -> Row[Rollout]:
        row = self._table.get(rollout_id)
        if row is None:
            raise RolloutNotFoundError(rollout_id)
        return row

    def _view(self, rollout: Rollout, candidates: list[Candidate]) -> View:
        counts = rules.count(rollout, candidates)
        loading = [u for c in candidates if (u := rules.update_in(rollout, c)) and u.stage is Stage.DOWNLOADING]
        return View(
            rollout,
            counts,
            self._releases.get(rollout.spec.release_id).manifest.version,
            rules.target(rollout, counts.total),
            rules.halt_at(rollout, counts.total),
            sum(u.written_bytes for u in loading),
            sum(u.size_bytes for u in loading),
        )


def _settled(view: View) -> bool:
    """Return whether nothing will happen without a user or a late joiner."""
    rollout = view.rollout
    return (
        rollout.ended
        or rollout.state is RolloutState.HALTED
        or (rollout.awaiting_late_joiners and not view.counts.waiting)
    )


def _not_found() -> Rollout:
    raise RolloutNotFoundError("")
