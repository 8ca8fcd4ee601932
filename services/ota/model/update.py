"""One device and its update: what each thing that it says changes. Pure.

    ASSIGNED ── offered ──► OFFERED ── OtaAccept ──► DOWNLOADING ── OtaResult{PENDING} ──► TRIAL
        ▲                      │                         │                                │
        └── may be tried again ┴─────────────────────────┘             OtaStatus: CONFIRMED │ REVERTED
                               │ refused, or tried too often: FAILED   (also from any state before)

The device's own word on what it runs wins over what was believed of it, in every state.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace

MAX_TRIES = 4
MAX_FALLEN = 8
PROGRESS_PARTS = 4
"""Progress is stored when it enters another quarter; who watches sees that much."""


class Stage(enum.Enum):
    """How far an update is."""

    ASSIGNED = "assigned"
    OFFERED = "offered"
    DOWNLOADING = "downloading"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        """Not at its end."""
        return self not in (Stage.CONFIRMED, Stage.REVERTED, Stage.FAILED)

    @property
    def stoppable(self) -> bool:
        """The device has not booted the image yet."""
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
    COUNTER, SEQUENCE, PRECURSOR, PATCH, LENGTH, CHUNK, DIGEST, BUSY, FLASH, ABORTED, TIMEOUT = range(9, 20)
    ALREADY, SELF_TEST, NOT_CONFIRMED = range(20, 23)


_PATCH_FAULTS = (Reason.PRECURSOR, Reason.PATCH)
_PASSING = (Reason.STALE, Reason.BUSY, Reason.TIMEOUT, Reason.LENGTH, Reason.CHUNK, Reason.DIGEST, Reason.FLASH)


@dataclass(frozen=True, slots=True)
class Update:
    """What a device is or was to get. `id` is not 0; `stop` tells it to give up; `full_only`: no patch any more."""

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
class Standing:
    """What a device says it is and runs; digests in lower-case hex."""

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
    """A device's record. `fallen` are the releases that it tried and did not keep, the last MAX_FALLEN."""

    device_id: str
    standing: Standing = field(default_factory=Standing)
    update: Update | None = None
    fallen: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        """An update is active."""
        return self.update is not None and self.update.stage.active


Change = Callable[[Device], Device]


@dataclass(frozen=True, slots=True)
class Told:
    """The part of OtaStatus that is about the last update."""

    update_id: int
    outcome: Outcome
    reason: Reason


def assign(device: Device, update: Update) -> Device:
    """The device with a new update; it must not have an active one."""
    if device.busy:
        raise ValueError("one active update a device")
    return replace(device, update=update)


def after_status(device: Device, standing: Standing, told: Told, image_sha256: str) -> Device:
    """After OtaStatus; `image_sha256` is the image of the device's update, "" where it has none."""
    device = replace(device, standing=standing)
    update = device.update
    if update is None or not image_sha256:
        return device
    if standing.image_sha256 == image_sha256 and standing.state is not State.TRIAL:
        return _to(device, Stage.CONFIRMED, "")
    return _after_word(device, standing, told) if told.update_id == update.id and update.stage.active else device


def _after_word(device: Device, standing: Standing, told: Told) -> Device:
    if told.outcome is Outcome.REVERTED:
        return _to(device, Stage.REVERTED, told.reason.name.lower())
    if told.outcome is Outcome.FAILED:
        return _ended_early(device, told.reason, told.reason.name.lower())
    return _to(device, Stage.TRIAL, "") if standing.state in (State.TRIAL, State.INSTALLED) else device


def offered(device: Device) -> Device:
    """After an offer went out."""
    return _with(device, stage=Stage.OFFERED)


def after_accept(device: Device, update_id: int, offset_bytes: int, *, delta: bool) -> Device:
    """After OtaAccept."""
    if not _current(device, update_id):
        return device
    return _with(device, stage=Stage.DOWNLOADING, delta=delta, written_bytes=offset_bytes, why="")


def after_reject(device: Device, update_id: int, reason: Reason, text: str) -> Device:
    """After OtaReject."""
    return _ended_early(device, reason, text or reason.name.lower()) if _current(device, update_id) else device


def after_progress(device: Device, update_id: int, written_bytes: int) -> Device:
    """After OtaProgress; the same record where it is not worth storing."""
    update = device.update
    if not _current(device, update_id) or update is None or update.stage is not Stage.DOWNLOADING:
        return device
    part = max(1, update.size_bytes // PROGRESS_PARTS)
    if written_bytes // part == update.written_bytes // part:
        return device
    return _with(device, written_bytes=min(written_bytes, update.size_bytes))


def after_result(device: Device, update_id: int, outcome: Outcome, reason: Reason, text: str) -> Device:
    """After OtaResult."""
    if not _current(device, update_id) or device.update is None:
        return device
    if outcome is Outcome.PENDING:
        return _with(device, stage=Stage.TRIAL, written_bytes=device.update.size_bytes)
    if outcome is Outcome.CONFIRMED:
        return device  # OtaStatus says it with the digest of what runs, and that decides
    if outcome is Outcome.REVERTED:
        return _to(device, Stage.REVERTED, text or reason.name.lower())
    return _ended_early(device, reason, text or reason.name.lower())


def failed(device: Device, why: str) -> Device:
    """The service gives the update up."""
    return _to(device, Stage.FAILED, why) if device.busy else device


def stopped(device: Device) -> Device:
    """The update shall end where it can still be stopped; one that the device was never told of has ended."""
    update = device.update
    if update is None or not update.stage.stoppable:
        return device
    return _to(device, Stage.FAILED, "stopped") if update.stage is Stage.ASSIGNED else _with(device, stop=True)


def _ended_early(device: Device, reason: Reason, text: str) -> Device:
    update = device.update
    if update is None:
        return device
    if update.stop or reason is Reason.ABORTED:
        return _to(device, Stage.FAILED, "stopped")
    if reason in _PATCH_FAULTS or (update.delta and reason in (Reason.DIGEST, Reason.CHUNK)):
        if not update.full_only:
            return _with(device, stage=Stage.ASSIGNED, full_only=True, delta=False, why=f"patch: {text}")
    elif reason in _PASSING and update.tries + 1 < MAX_TRIES:
        return _with(device, stage=Stage.ASSIGNED, tries=update.tries + 1, why=text)
    return _to(device, Stage.FAILED, text)


def _to(device: Device, stage: Stage, why: str) -> Device:
    update = device.update
    if update is None:
        return device
    fallen = device.fallen
    if stage in (Stage.REVERTED, Stage.FAILED) and why != "stopped":
        fallen = (*(f for f in fallen if f != update.release_id), update.release_id)[-MAX_FALLEN:]
    return replace(device, update=replace(update, stage=stage, why=why, stop=False), fallen=fallen)


def _current(device: Device, update_id: int) -> bool:
    return device.update is not None and device.update.id == update_id and device.update.stage.active


def _with(device: Device, **changes: object) -> Device:
    return device if device.update is None else replace(device, update=replace(device.update, **changes))  # type: ignore[arg-type]
