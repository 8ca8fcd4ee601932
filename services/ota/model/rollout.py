"""A rollout: which devices start next, and when it advances, halts or ends. Pure; `step` makes all decisions.

                       wave done            soaked, no approval required
      ┌──► RUNNING ───────────────► SOAKING ────────────────────────► RUNNING (next wave) … DONE
      │      │ │                       │ soaked, approval required
      │      │ └ too many failures     ▼
    resume   │        │             WAITING ── approve ──► RUNNING (next wave)
      │      ▼        ▼                │
      └── PAUSED   HALTED ◄────────────┘ failures count in every state but PAUSED
             └────────┴──── abort ───► ABORTED   (also from DONE with late_joiners)

A started device stays a member, by its own record (`Device.member`); labels matter only for devices that have not
started. A live rollout keeps no state about single devices, so nothing can be inconsistent after a crash. Once it has
ended and no update is active, its counts are `final`, and it only stops devices.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from services.ota.errors import InvalidRolloutError, RolloutStateError
from services.ota.model.update import Stage, Update

MAX_WAVES = 16
"""Waves of one rollout."""
DEFAULT_TIMEOUT_S = 900
DEFAULT_HALT_PERCENT = 10
RATE_WINDOWS_S = (60.0, 1.0, 0.25)
"""In none of these windows more devices start than the rate allows for it, rounded up."""


class RolloutState(enum.Enum):
    """The state of a rollout."""

    RUNNING = "running"
    SOAKING = "soaking"
    WAITING = "waiting"
    PAUSED = "paused"
    HALTED = "halted"
    ABORTED = "aborted"
    DONE = "done"


LIVE = (RolloutState.RUNNING, RolloutState.SOAKING, RolloutState.WAITING)


@dataclass(frozen=True, slots=True)
class Wave:
    """The size of this wave and all previous ones: a count, or a percentage of all devices if `percent` is not 0."""

    count: int = 0
    percent: int = 0

    def target(self, total: int) -> int:
        """Return the number of devices out of `total`."""
        return min(total, -(-total * self.percent // 100) if self.percent else self.count)


ALL = Wave(percent=100)


@dataclass(frozen=True, slots=True)
class Spec:
    """The specification of a rollout; fields as in RolloutSpec."""

    release_id: str
    selector: str = ""
    waves: tuple[Wave, ...] = (ALL,)
    soak_s: int = 0
    halt_count: int = 0
    halt_percent: int = DEFAULT_HALT_PERCENT
    rate_per_minute: int = 0
    approval: bool = False
    retry_failed: bool = False
    late_joiners: bool = False
    roll_back_on_halt: bool = False
    device_timeout_s: int = DEFAULT_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Counts:
    """Devices by state; fields as in RolloutCounts."""

    waiting: int = 0
    downloading: int = 0
    trial: int = 0
    confirmed: int = 0
    reverted: int = 0
    failed: int = 0
    timed_out: int = 0
    stopped: int = 0
    unfit: int = 0
    late: int = 0

    @property
    def total(self) -> int:
        """Members, and devices that will become members."""
        return self.waiting + self.started

    @property
    def started(self) -> int:
        """Members that will not start again."""
        return self.active + self.confirmed + self.failures + self.stopped

    @property
    def failures(self) -> int:
        """Failures that count towards a halt."""
        return self.reverted + self.failed + self.timed_out

    @property
    def active(self) -> int:
        """Members with an active update."""
        return self.downloading + self.trial


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout. `acknowledged`: failures that a user resumed after; `scoped`: the matching devices are recorded."""

    id: str
    spec: Spec
    create_unix_s: float
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""
    wave: int = 0
    approved: int = 0
    soak_from_unix_s: float = 0.0
    acknowledged: int = 0
    before_pause: RolloutState = RolloutState.RUNNING
    rolls_back: str = ""
    scoped: bool = False
    final: Counts | None = None

    @property
    def ended(self) -> bool:
        """Whether no device starts any more; with late joiners only an abort ends a rollout."""
        return self.state is RolloutState.ABORTED or (
            self.state is RolloutState.DONE and not self.awaiting_late_joiners
        )

    @property
    def awaiting_late_joiners(self) -> bool:
        """Whether all devices are done for now and the next late joiner will start."""
        return self.state is RolloutState.DONE and self.spec.late_joiners


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that the rollout has started or may start.

    `update` is the device's current update, of any rollout; `past` its update in this rollout if a later rollout has
    started it since. `unfit` is the reason not to start it, "" if none; `late`: it has matched only since the start.
    """

    device_id: str
    online: bool
    update: Update | None = None
    unfit: str = ""
    past: Update | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Decisions: devices to start, in this order, updates to expire, updates to stop."""

    rollout: Rollout
    counts: Counts
    start: Sequence[str] = ()
    expire: Sequence[str] = ()
    stop: Sequence[str] = ()
    events: Sequence[str] = field(default=())


def check(spec: Spec) -> Spec:
    """Return `spec` if it is valid, else raise InvalidRolloutError."""
    if not 1 <= len(spec.waves) <= MAX_WAVES:
        raise InvalidRolloutError(f"{len(spec.waves)} waves, 1 to {MAX_WAVES} are allowed", field="waves")
    for wave in spec.waves:
        if not (1 <= wave.percent <= 100) and wave.count < 1:
            raise InvalidRolloutError("a wave must be a count of at least 1, or 1 to 100 percent", field="waves")
    percents = [wave.percent for wave in spec.waves if wave.percent]
    sizes = [wave.count for wave in spec.waves if not wave.percent]
    if percents != sorted(percents) or sizes != sorted(sizes):
        raise InvalidRolloutError(
            "waves must grow, since each includes the previous ones", hint="Example: --waves 2,25%,100%."
        )
    if spec.waves[-1].percent != 100:
        raise InvalidRolloutError("the last wave must be 100 %", hint="Example: --waves 2,25%,100%.", field="waves")
    if not 1 <= spec.halt_percent <= 100:
        raise InvalidRolloutError(f"halt_percent is {spec.halt_percent}, 1 to 100 are allowed", field="halt_percent")
    return spec


def target(rollout: Rollout, total: int) -> int:
    """Return the size of the current wave and all previous ones, out of `total`."""
    return max(wave.target(total) for wave in rollout.spec.waves[: rollout.wave + 1])


def halt_at(rollout: Rollout, total: int) -> int:
    """Return the number of failures that halts the rollout."""
    if rollout.spec.halt_count:
        return rollout.spec.halt_count
    return max(1, -(-target(rollout, total) * rollout.spec.halt_percent // 100))


def order(rollout_id: str, devices: Sequence[Candidate]) -> list[Candidate]:
    """Return devices in start order: equal for every replica, different for every rollout."""
    return sorted(devices, key=lambda c: hashlib.sha256(f"{rollout_id}/{c.device_id}".encode()).digest())


def update_in(rollout: Rollout, candidate: Candidate) -> Update | None:
    """Return the candidate's update in this rollout, or None if not started."""
    update = candidate.update
    return update if update is not None and update.rollout_id == rollout.id else candidate.past


def count_field(rollout: Rollout, candidate: Candidate) -> str:
    """Return the field of Counts that the candidate counts in."""
    update = update_in(rollout, candidate)
    if update is None:
        late = candidate.late and not rollout.spec.late_joiners
        return "unfit" if candidate.unfit else "late" if late else "waiting"
    if update.stage.stoppable:
        return "downloading"
    if update.stage is Stage.STOPPED and _restartable(rollout, candidate):
        return "waiting"
    return update.stage.value


def _restartable(rollout: Rollout, candidate: Candidate) -> bool:
    """Return whether a stopped device starts again: not if another rollout has started it since."""
    over = rollout.ended or rollout.state is RolloutState.HALTED
    return not over and candidate.past is None and not candidate.unfit


def count(rollout: Rollout, candidates: Sequence[Candidate]) -> Counts:
    """Return the number of devices by state."""
    return rollout.final or Counts(**Counter(count_field(rollout, c) for c in candidates))


def endings(rollout: Rollout, candidates: Sequence[Candidate], now: float) -> Step:
    """Return the part of `step` that needs members only: updates to expire and to stop."""
    updates = [(c, u) for c in candidates if (u := update_in(rollout, c)) and u.stage.active]
    expire = [c.device_id for c, u in updates if now - u.started_unix_s > rollout.spec.device_timeout_s]
    over = rollout.ended or rollout.state is RolloutState.HALTED
    stop = [c.device_id for c, u in updates if u.stage.stoppable and not u.stop] if over else []
    return Step(rollout, count(rollout, candidates), expire=expire, stop=stop)


def step(rollout: Rollout, candidates: Sequence[Candidate], now: float) -> Step:
    """Return the decisions at `now` (seconds since 1970). Executing them is idempotent, completely or in part."""
    found = endings(rollout, candidates, now)
    if rollout.ended:
        return found if found.counts.active else replace(found, rollout=replace(rollout, final=found.counts))
    if rollout.state in (RolloutState.HALTED, RolloutState.PAUSED):
        return found
    counts = found.counts
    # A device that had failed may have confirmed since.
    rollout = replace(rollout, acknowledged=min(rollout.acknowledged, counts.failures))
    limit = halt_at(rollout, counts.total)
    failures = counts.failures - rollout.acknowledged
    if failures >= limit:
        reason = f"{failures} of {target(rollout, counts.total)} failed, the limit is {limit}"
        halted = replace(rollout, state=RolloutState.HALTED, reason=reason)
        return replace(endings(halted, candidates, now), events=("halted",))
    done = _advance(rollout, candidates, counts, now)
    final = counts if done.rollout.ended else None
    return replace(done, rollout=replace(done.rollout, final=final), expire=found.expire)


def _advance(rollout: Rollout, candidates: Sequence[Candidate], counts: Counts, now: float) -> Step:
    events: list[str] = []
    while True:
        last = rollout.wave == len(rollout.spec.waves) - 1
        if rollout.state is RolloutState.DONE:
            if not (rollout.spec.late_joiners and counts.waiting):
                return Step(rollout, counts, events=events)
            rollout, events = replace(rollout, state=RolloutState.RUNNING, reason=""), [*events, "resumed"]
        elif rollout.state is RolloutState.RUNNING:
            start = _next(rollout, candidates, counts, now)
            if start or not _wave_done(rollout, candidates, counts, last=last):
                return Step(rollout, counts, start, events=events)
            if last:
                more = "; late joiners will follow" if rollout.spec.late_joiners else ""
                rollout = replace(rollout, state=RolloutState.DONE, reason=f"{counts.confirmed} confirmed{more}")
                return Step(rollout, counts, events=[*events, "done"])
            rollout = replace(rollout, state=RolloutState.SOAKING, soak_from_unix_s=now)
            events.append("soaking")
        elif rollout.state is RolloutState.SOAKING:
            if rollout.soak_from_unix_s > now:  # the wall clock was set back and ota restarted
                rollout = replace(rollout, soak_from_unix_s=now)
            if now - rollout.soak_from_unix_s < rollout.spec.soak_s:
                return Step(rollout, counts, events=events)
            if rollout.spec.approval and rollout.approved <= rollout.wave:
                rollout = replace(rollout, state=RolloutState.WAITING)
                return Step(rollout, counts, events=[*events, "waiting"])
            rollout, events = _next_wave(rollout), [*events, "wave"]
        elif rollout.approved > rollout.wave:
            rollout, events = _next_wave(rollout), [*events, "wave"]
        else:
            return Step(rollout, counts, events=events)


def _next_wave(rollout: Rollout) -> Rollout:
    return replace(rollout, state=RolloutState.RUNNING, wave=rollout.wave + 1)


def _startable(rollout: Rollout, candidate: Candidate) -> bool:
    busy = candidate.update is not None and candidate.update.stage.active
    return candidate.online and not busy and count_field(rollout, candidate) == "waiting"


def _next(rollout: Rollout, candidates: Sequence[Candidate], counts: Counts, now: float) -> list[str]:
    room = target(rollout, counts.total) - counts.started
    if rollout.spec.rate_per_minute:
        ages_s = [now - u.started_unix_s for c in candidates if (u := update_in(rollout, c))]
        room = min(room, _rate_room(rollout.spec.rate_per_minute, ages_s))
    if room <= 0:
        return []
    ready = [c for c in candidates if _startable(rollout, c)]
    return [c.device_id for c in order(rollout.id, ready)[:room]]


def _rate_room(rate: int, ages_s: Sequence[float]) -> int:
    """Return how many devices may start now at `rate` a minute, given the ages in seconds of earlier starts."""
    return min(math.ceil(rate * window / 60) - sum(age < window for age in ages_s) for window in RATE_WINDOWS_S)


def _wave_done(rollout: Rollout, candidates: Sequence[Candidate], counts: Counts, *, last: bool) -> bool:
    """Return whether all updates of the wave have ended. Only the last wave waits for offline devices."""
    if counts.active:
        return False
    if counts.started >= target(rollout, counts.total):
        return True
    if last or not counts.started:
        return False
    return not any(_startable(rollout, c) for c in candidates)


def pause(rollout: Rollout) -> Rollout:
    """Start no more devices; idempotent."""
    if rollout.state is RolloutState.PAUSED:
        return rollout
    if not rollout.awaiting_late_joiners:
        _expect(rollout, *LIVE)
    return replace(rollout, state=RolloutState.PAUSED, before_pause=rollout.state)


def resume(rollout: Rollout, failures: int) -> Rollout:
    """Continue after a pause or a halt; after a halt, the `failures` so far no longer count. Idempotent."""
    if rollout.state in LIVE or rollout.awaiting_late_joiners:
        return rollout
    _expect(rollout, RolloutState.PAUSED, RolloutState.HALTED)
    if rollout.state is RolloutState.PAUSED:
        return replace(rollout, state=rollout.before_pause)
    return replace(rollout, state=RolloutState.RUNNING, acknowledged=failures, reason="")


def abort(rollout: Rollout, user: str) -> Rollout:
    """End the rollout; idempotent."""
    if rollout.state is RolloutState.ABORTED:
        return rollout
    if not rollout.awaiting_late_joiners:
        _expect(rollout, *LIVE, RolloutState.PAUSED, RolloutState.HALTED)
    return replace(rollout, state=RolloutState.ABORTED, reason=f"aborted by {user}")


def approve(rollout: Rollout) -> Rollout:
    """Approve the next wave of a waiting rollout. Idempotent: a repeated call approves no further wave."""
    waits = RolloutState.WAITING in (rollout.state, rollout.before_pause)
    if rollout.state is not RolloutState.WAITING and not (rollout.state is RolloutState.PAUSED and waits):
        _expect(rollout, *LIVE, RolloutState.PAUSED)
        if 0 < rollout.wave == rollout.approved:
            return rollout  # already approved
        raise RolloutStateError(rollout.id, f"{rollout.state.value} and not waiting for approval")
    return replace(rollout, approved=rollout.wave + 1)


def _expect(rollout: Rollout, *states: RolloutState) -> None:
    if rollout.state not in states:
        raise RolloutStateError(rollout.id, rollout.state.value)
