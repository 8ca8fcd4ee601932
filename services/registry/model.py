"""The registry's pure rules: a device's lifecycle, record and view, and the revisions of contracts."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.domain import ids
from services.domain.contract import Contract
from services.domain.selectors import Selector
from services.domain.values import Value
from services.registry.errors import TransitionError


class DeviceState(enum.Enum):
    """State in the lifecycle of a device.

    pending ──► active ◄──► suspended
       │          │             │
       └──────────┴──► retired ◄┘
    """

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    RETIRED = "retired"


_NEXT = {
    DeviceState.PENDING: {DeviceState.ACTIVE, DeviceState.RETIRED},
    DeviceState.ACTIVE: {DeviceState.SUSPENDED, DeviceState.RETIRED},
    DeviceState.SUSPENDED: {DeviceState.ACTIVE, DeviceState.RETIRED},
    DeviceState.RETIRED: set[DeviceState](),
}


class TwinSide(enum.Enum):
    """A side of a twin."""

    DESIRED = "desired"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """The stored record of a device; `revision` is that of its key, 0 until it is stored.

    Certificates issued before `revoke_time` are rejected.
    """

    id: str
    state: DeviceState
    create_time: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    revoke_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A one-time token without its secret; `id` is half of the secret's SHA-256. `revision` is that of its key."""

    id: str
    device_id: str
    create_time: datetime
    expire_time: datetime
    author: str
    use_time: datetime | None = None
    serial: str = ""
    key_digest: bytes = b""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A device's public key in DER and its SHA-256. The requester has proved that it has the private key."""

    der: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """The result of an enrolment in PEM: the certificate with the device CA's, and the service CA's."""

    serial: str
    certificate_chain: bytes
    services: bytes


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """A certificate that the device CA issued: its key and validity."""

    key: PublicKey
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class RenewalResult:
    """The result of a renewal in DER: the new certificate and that of the device CA."""

    certificate: bytes
    issuer: bytes
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """A named selector; `revision` is that of its key, 0 until it is stored."""

    name: str
    selector: Selector
    description: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Build:
    """A device's own description in its Hello."""

    model: str = ""
    device_class: str = ""
    firmware_version: str = ""
    slot: str = ""


@dataclass(frozen=True, slots=True)
class ContractRecord:
    """A contract as stored, with the device's own description, and the revision of its key."""

    contract: Contract
    build: Build
    key_revision: int = 0


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a device is connected, since when, and by which session."""

    online: bool = False
    since: datetime | None = None
    session_id: str = ""
    bridge_id: str = ""
    negotiation_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CapabilityRef:
    """Identification of a capability, in one line."""

    id: str
    type: str
    version: int


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as callers see it: record, build, presence, and a summary of its contract."""

    record: DeviceRecord
    build: Build = Build()
    presence: Presence = Presence()
    contract_revision: int = 0
    capabilities: tuple[CapabilityRef, ...] = ()
    certificate_expire_time: datetime | None = None


def with_changes(record: DeviceRecord, state: DeviceState | None, labels: Mapping[str, str]) -> DeviceRecord:
    """Return the record after a change; an empty label value removes the label.

    Raises TransitionError, or InvalidIdError if a label is invalid.
    """
    if state is not None and state is not record.state and state not in _NEXT[record.state]:
        raise TransitionError(record.id, record.state.value, state.value)
    merged = {**record.labels, **labels}
    kept = ids.labels({key: value for key, value in merged.items() if value or key not in labels})
    return replace(record, state=state or record.state, labels=kept)


def next_record(old: ContractRecord | None, new: Contract, build: Build, now: datetime) -> ContractRecord:
    """Return the record to store: the old one if nothing differs, else the next revision (a new build alone creates
    none).
    """
    if old is None:
        return ContractRecord(replace(new, revision=1, negotiate_time=now), build)
    same = replace(new, revision=old.contract.revision, negotiate_time=old.contract.negotiate_time)
    if same == old.contract:
        return replace(old, build=build)
    return ContractRecord(replace(new, revision=old.contract.revision + 1, negotiate_time=now), build, old.key_revision)


def revisions(writes: Iterable[ContractRecord]) -> list[ContractRecord]:
    """Return the current revisions, ascending, from the writes, oldest first.

    A revision is written again if only the build differs; the last write counts. A revision that is written again after
    later ones, by a restore that overwrites, replaces them.
    """
    found: list[ContractRecord] = []
    for record in writes:
        while found and found[-1].contract.revision >= record.contract.revision:
            found.pop()
        found.append(record)
    return found


class ProgramState(enum.Enum):
    """State of a program's instance; the numbers are those of TwinProgramState."""

    WAITING = 1
    STARTING = 2
    RUNNING = 3
    SUSPENDED = 4
    STOPPED = 5
    FAILED = 6
    REFUSED = 7

    @property
    def active(self) -> bool:
        """Whether a worker runs or starts it."""
        return self in (ProgramState.STARTING, ProgramState.RUNNING, ProgramState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class TwinProgram:
    """A program desired on a device, and its state; `reported_version` is empty if none runs."""

    deployment_id: str
    program_id: str
    desired_version: str
    desired_running: bool
    desire_time: datetime
    state: ProgramState
    reported_version: str = ""
    problem: str = ""
    report_time: datetime | None = None
    reported: Mapping[str, Value] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether it is not yet as desired."""
        if not self.desired_running:
            return self.state.active
        return self.state is not ProgramState.RUNNING or self.reported_version != self.desired_version


@dataclass(frozen=True, slots=True)
class ProgramsSide:
    """The programs of a twin as of `revision` (0: never reported), ordered by deployment; `as_of` is the reporter's
    clock.
    """

    revision: int = 0
    programs: tuple[TwinProgram, ...] = ()
    time: datetime | None = None
    author: str = ""
    as_of: int = 0


def merge_programs(
    old: ProgramsSide, programs: Iterable[TwinProgram], as_of: int, now: datetime, author: str
) -> ProgramsSide:
    """Return the side after a report: the old one if the report is of an earlier state or changes nothing.

    A program's report time changes only with its reported state.
    """
    if as_of < old.as_of:
        return old
    before = {program.deployment_id: program for program in old.programs}
    merged = []
    for program in sorted(programs, key=lambda one: one.deployment_id):
        known = before.get(program.deployment_id)
        same = known is not None and (known.state, known.reported_version, known.problem, known.reported) == (
            program.state,
            program.reported_version,
            program.problem,
            program.reported,
        )
        merged.append(replace(program, report_time=known.report_time if same and known else now))
    if tuple(merged) == old.programs:
        return old
    return ProgramsSide(old.revision + 1, tuple(merged), now, author, as_of)
