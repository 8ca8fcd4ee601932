"""One device and its update: a state machine driven by reports of the device. Pure.

    ASSIGNED ── offered ──► OFFERED ── OtaAccept ──► DOWNLOADING ── OtaResult{PENDING} ──► TRIAL
        ▲                      │                         │                                │
        └──── another attempt ─┴─────────────────────────┘             OtaStatus: CONFIRMED │ REVERTED
                               │ refused, or too many attempts: FAILED (also from any earlier state)
                               │ halt or abort: STOPPED                (from the three before the boot)
                               │ device_timeout_s: TIMED_OUT           (from any of the four)

The device's report of its running image overrides the recorded state, in every stage.

A device is a member of each rollout that has started it, by its update there: the current one, or one of `past` once a
later rollout has started the device. Membership depends on nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace

MAX_ATTEMPTS = 4
"""Attempts of one update before a transient failure becomes final."""
MAX_FALLEN_BACK = 8
"""Releases remembered per device; bounds its record."""
MAX_PAST = 64
"""Maximum unfinished rollouts with one device as a member; further ones do not start it."""
PROGRESS_PARTS = 4
"""Progress is stored once per quarter; watchers see no more."""


class Stage(enum.Enum):
    """The stage of an update."""

    ASSIGNED = "assigned"
    OFFERED = "offered"
    DOWNLOADING = "downloading"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"

    @property
    def active(self) -> bool:
        """Whether the update has not ended."""
        return self.stoppable or self is Stage.TRIAL

    @property
    def stoppable(self) -> bool:
        """Whether the device has not booted the image yet."""
        return self in (Stage.ASSIGNED, Stage.OFFERED, Stage.DOWNLOADING)


class State(enum.IntEnum):
    """OtaState of the link."""

    UNSPECIFIED, IDLE, PARTIAL, INSTALLED, TRIAL, SAFE_MODE = range(6)


class Outcome(enum.IntEnum):
    """OtaOutcome of the link."""

    UNSPECIFIED, PENDING, CONFIRMED, REVERTED, FAILED = range(5)


class Reason(enum.IntEnum):
    """OtaCode of the link."""

    UNSPECIFIED, MALFORMED, ROOT, SIGNATURE, EXPIRED, STALE, MIX_AND_MATCH, DEVICE_CLASS, SLOT_SIZE = range(9)
    SECURITY_COUNTER, SEQUENCE, PRECURSOR, PATCH, LENGTH, CHUNK, DIGEST, BUSY, FLASH, ABORTED, TIMEOUT = range(9, 20)
    ALREADY_RUNNING, SELF_TEST, NOT_CONFIRMED = range(20, 23)


_PATCH_FAULTS = (Reason.PRECURSOR, Reason.PATCH)
_TRANSIENT = (Reason.STALE, Reason.BUSY, Reason.TIMEOUT, Reason.LENGTH, Reason.CHUNK, Reason.DIGEST, Reason.FLASH)


@dataclass(frozen=True, slots=True)
class Update:
    """An update of a device. `id` is not 0; `stop`: the device must abort; `full_only`: no more patches."""

    id: int
    rollout_id: str
    release_id: str
    started_unix_s: float
    stage: Stage = Stage.ASSIGNED
    size_bytes: int = 0
    written_bytes: int = 0
    delta: bool = False
    full_only: bool = False
    tries: int = 0
    why: str = ""
    stop: bool = False


@dataclass(frozen=True, slots=True)
class OtaStatus:
    """Slot and image status reported by a device; digests in lower-case hex."""

    device_class: str = ""
    rx_frame_bytes: int = 0
    state: State = State.UNSPECIFIED
    image_sha256: str = ""
    image_size_bytes: int = 0
    sequence: int = 0
    security_counter: int = 0
    root_version: int = 0
    slot_size_bytes: int = 0
    patch_formats: int = 0
    newest_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """A device's record.

    `fallen_back` lists the last MAX_FALLEN_BACK releases that it reverted from or refused, `past` its updates in other
    rollouts that have not ended.
    """

    device_id: str
    status: OtaStatus = field(default_factory=OtaStatus)
    update: Update | None = None
    fallen_back: tuple[str, ...] = ()
    past: tuple[Update, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether an update is active."""
        return self.update is not None and self.update.stage.active

    def member(self, rollout_id: str) -> Update | None:
        """Return its update in a rollout, or None if that has not started it."""
        if self.update is not None and self.update.rollout_id == rollout_id:
            return self.update
        return next((u for u in self.past if u.rollout_id == rollout_id), None)


Change = Callable[[Device], Device]


@dataclass(frozen=True, slots=True)
class LastUpdate:
    """The part of OtaStatus about the last update."""

    update_id: int
    outcome: Outcome
    reason: Reason


def _keep_all(_: str) -> bool:
    return True


def assign(device: Device, update: Update, keep: Callable[[str], bool] = _keep_all) -> Device:
    """Return the device with a new update. It must have no active one, and not be `crowded`.

    `keep` returns whether a rollout, by its id, may still need its members.
    """
    if device.busy:
        raise ValueError("the device already has an active update")
    return replace(device, update=update, past=_past(device, update.rollout_id, keep))


def crowded(device: Device, rollout_id: str, keep: Callable[[str], bool] = _keep_all) -> bool:
    """Return whether the device is a member of the maximum number of other rollouts."""
    return len(_past(device, rollout_id, keep)) > MAX_PAST


def _past(device: Device, rollout_id: str, keep: Callable[[str], bool]) -> tuple[Update, ...]:
    before = (*device.past, *((device.update,) if device.update else ()))
    return tuple(u for u in before if u.rollout_id != rollout_id and keep(u.rollout_id))


def after_status(device: Device, status: OtaStatus, last_update: LastUpdate, image_sha256: str) -> Device:
    """Return the device after OtaStatus; `image_sha256` is the image of its update, "" without one."""
    device = replace(device, status=status)
    update = device.update
    if update is None or not image_sha256:
        return device
    if status.image_sha256 == image_sha256 and status.state is not State.TRIAL:
        size_bytes = update.size_bytes or status.image_size_bytes
        return _to(_with(device, size_bytes=size_bytes, written_bytes=size_bytes), Stage.CONFIRMED, "")
    return _after_last_update(device, update, status, last_update) if last_update.update_id == update.id else device


def _after_last_update(device: Device, update: Update, status: OtaStatus, last_update: LastUpdate) -> Device:
    given_up = update.stage in (Stage.TIMED_OUT, Stage.STOPPED)
    if last_update.outcome is Outcome.REVERTED and (update.stage.active or given_up):
        return _to(device, Stage.REVERTED, last_update.reason.name.lower())
    if not update.stage.active:
        return device
    if last_update.outcome is Outcome.FAILED:
        return _ended_early(device, last_update.reason, last_update.reason.name.lower())
    if status.state is State.INSTALLED and update.stop:
        return device  # not booted yet: can still be stopped
    return _on_trial(device) if status.state in (State.TRIAL, State.INSTALLED) else device


def _on_trial(device: Device) -> Device:
    update = device.update
    return device if update is None else _to(_with(device, written_bytes=update.size_bytes), Stage.TRIAL, "")


def offered(device: Device) -> Device:
    """Return the device after an offer was sent."""
    return _with(device, stage=Stage.OFFERED)


def after_accept(device: Device, update_id: int, offset_bytes: int, *, delta: bool) -> Device:
    """Return the device after OtaAccept."""
    update = device.update
    if update is None or not _current(device, update_id):
        return device
    why = update.why if update.stop else ""
    return _with(device, stage=Stage.DOWNLOADING, delta=delta, written_bytes=offset_bytes, why=why)


def after_reject(device: Device, update_id: int, reason: Reason, text: str) -> Device:
    """Return the device after OtaReject."""
    return _ended_early(device, reason, text or reason.name.lower()) if _current(device, update_id) else device


def after_progress(device: Device, update_id: int, written_bytes: int) -> Device:
    """Return the device after OtaProgress; unchanged if the progress is not worth storing."""
    update = device.update
    if not _current(device, update_id) or update is None or update.stage is not Stage.DOWNLOADING:
        return device
    part = max(1, update.size_bytes // PROGRESS_PARTS)
    if written_bytes // part == update.written_bytes // part:
        return device
    return _with(device, written_bytes=min(written_bytes, update.size_bytes))


def after_result(device: Device, update_id: int, outcome: Outcome, reason: Reason, text: str) -> Device:
    """Return the device after OtaResult."""
    if not _current(device, update_id) or device.update is None:
        return device
    if outcome is Outcome.PENDING:
        return _on_trial(device)
    if outcome is Outcome.CONFIRMED:
        return device  # OtaStatus decides, by the digest of the running image
    if outcome is Outcome.REVERTED:
        return _to(device, Stage.REVERTED, text or reason.name.lower())
    return _ended_early(device, reason, text or reason.name.lower())


def failed(device: Device, why: str) -> Device:
    """Return the device with a failed update: the service gave it up, which does not count against the release."""
    return _to(device, Stage.FAILED, why) if device.busy else device


def timed_out(device: Device, timeout_s: int) -> Device:
    """Return the device after its timeout. An unacknowledged stop becomes STOPPED."""
    update = device.update
    if update is None or not update.stage.active:
        return device
    if update.stop:
        return _to(device, Stage.STOPPED, update.why)
    return _to(device, Stage.TIMED_OUT, f"not finished within {timeout_s} s")


def stopping(device: Device, why: str) -> Device:
    """Return the device with its update to be stopped, unless booted; one that was never offered stops immediately."""
    update = device.update
    if update is None or not update.stage.stoppable:
        return device
    if update.stage is Stage.ASSIGNED:
        return _to(device, Stage.STOPPED, why)
    return device if update.stop else _with(device, stop=True, why=why)


def stopped(device: Device) -> Device:
    """Return the device after it reported, while stopping, that no download is active."""
    update = device.update
    if update is None or not (update.stop and update.stage.stoppable):
        return device
    return _to(device, Stage.STOPPED, update.why)


def _ended_early(device: Device, reason: Reason, text: str) -> Device:
    update = device.update
    if update is None:
        return device
    if update.stop:
        return _to(device, Stage.STOPPED, update.why)
    if reason in _PATCH_FAULTS or (update.delta and reason in (Reason.DIGEST, Reason.CHUNK)):
        if not update.full_only:
            return _with(device, stage=Stage.ASSIGNED, full_only=True, delta=False, why=f"patch: {text}")
    elif reason in _TRANSIENT:
        if update.tries + 1 < MAX_ATTEMPTS:
            return _with(device, stage=Stage.ASSIGNED, tries=update.tries + 1, why=text)
        return _to(device, Stage.TIMED_OUT if reason is Reason.TIMEOUT else Stage.FAILED, text)
    return _to(device, Stage.FAILED, text, refused=reason is not Reason.ABORTED)


def _to(device: Device, stage: Stage, why: str, *, refused: bool = False) -> Device:
    """Return the device in a stage. `refused`: the device rejected the release, as it does by a revert."""
    update = device.update
    if update is None:
        return device
    fallen_back = device.fallen_back
    if refused or stage is Stage.REVERTED:
        fallen_back = (*(f for f in fallen_back if f != update.release_id), update.release_id)[-MAX_FALLEN_BACK:]
    return replace(device, update=replace(update, stage=stage, why=why, stop=False), fallen_back=fallen_back)


def _current(device: Device, update_id: int) -> bool:
    return device.update is not None and device.update.id == update_id and device.update.stage.active


def _with(device: Device, **changes: object) -> Device:
    return device if device.update is None else replace(device, update=replace(device.update, **changes))  # type: ignore[arg-type]
