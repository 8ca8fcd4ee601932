"""What the registry needs from outside. Every method raises StoreUnavailableError where the store does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from services.domain.capability import Capability
from services.domain.contract import Contract, Refusal
from services.domain.errors import YggError
from services.domain.requirements import Requirement
from services.domain.selectors import Selector
from services.domain.twin import Side
from services.registry.model import (
    ContractRecord,
    DeviceCertificate,
    DeviceRecord,
    DeviceState,
    DeviceView,
    Granted,
    Group,
    ProgramsSide,
    PublicKey,
    Renewed,
    Token,
    TwinSide,
)
from yggdrasil.registry.v1 import registry_pb2

DeviceMessage: TypeAlias = registry_pb2.Device


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> datetime:
        """UTC."""

    def monotonic(self) -> float:
        """Seconds, never going back."""


class DeviceStore(Protocol):
    """The truth about devices."""

    async def get(self, device_id: str) -> DeviceRecord | None:
        """The record, or None."""

    async def create(self, record: DeviceRecord) -> DeviceRecord:
        """Stores a new record; raises RevisionConflictError where there is one."""

    async def update(self, record: DeviceRecord) -> DeviceRecord:
        """Stores a change of `record.revision`; raises RevisionConflictError where that is not the current one."""


class RemovableDevices(DeviceStore, Protocol):
    """A store of devices that forgets, too."""

    async def remove(self, record: DeviceRecord) -> int:
        """Deletes it; returns a revision that is not before that.

        Raises RevisionConflictError where `record.revision` is not the current one.
        """


class ContractStore(Protocol):
    """The truth about contracts, and the documents that devices sent."""

    async def get(self, device_id: str) -> ContractRecord | None:
        """The current contract, or None."""

    async def history(self, device_id: str) -> Sequence[ContractRecord]:
        """Every write of the device's contract that is kept, oldest first."""

    async def put(self, record: ContractRecord) -> ContractRecord:
        """Stores the record on top of `record.key_revision` (0: new); raises RevisionConflictError."""

    def digest(self, contract: Contract) -> str:
        """SHA-256 of what the contract holds, lower-case hex."""

    async def document(self, digest: str) -> bytes | None:
        """The document of that digest, or None."""

    async def put_document(self, digest: str, document: bytes) -> None:
        """Stores a document under its digest."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which devices: after an id, at most so many, all conditions met; None and no states mean any.

    `expires_before_unix_s`: the certificate that it last connected with ends before that.
    """

    after: str = ""
    limit: int = 100
    selector: Selector = field(default_factory=Selector)
    has: tuple[Requirement, ...] = ()
    online: bool | None = None
    states: frozenset[DeviceState] = frozenset()
    expires_before_unix_s: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a requirement is held against: labels, presence, and what the contract holds (None where there is none).

    `state` is the device's, such as `active`.
    """

    labels: Mapping[str, str]
    online: bool
    contract: tuple[Sequence[Capability], Sequence[Refusal]] | None
    state: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far a watch has come: a sequence of each stream that a device is made of; `epoch` tells the streams apart."""

    epoch: str
    sequences: tuple[int, ...]

    def at(self, number: int, sequence: int) -> Position:
        """The same with another sequence of one stream."""
        return Position(self.epoch, (*self.sequences[:number], sequence, *self.sequences[number + 1 :]))

    def reaches(self, other: Position) -> bool:
        """Whether nothing up to `other` is missing."""
        return all(mine >= theirs for mine, theirs in zip(self.sequences, other.sequences, strict=True))


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """A device as it is now, and the position after it; where it was deleted, its id and the revision of that only."""

    device: DeviceMessage
    deleted: bool
    position: Position


class Index(Protocol):
    """The read side, kept from the store's streams.

    Pages and watches come as the messages that are sent: to turn every record into objects and back costs more than
    to find it.
    """

    async def get(self, device_id: str) -> DeviceView | None:
        """The device, or None."""

    async def find(self, query: Query) -> Sequence[DeviceMessage]:
        """Devices ordered by id."""

    async def facts(self, device_ids: Collection[str]) -> Mapping[str, Facts]:
        """Of those devices that there are."""

    async def reached(self, bucket: str, revision: int) -> bool:
        """Waits until the index has applied a revision of a bucket, so that a writer reads its own write.

        At most REACH_TIMEOUT_S seconds; False where it has not come that far.
        """

    def position(self) -> Position:
        """How far the index has come."""

    async def reached_position(self, position: Position) -> bool:
        """As `reached`."""

    def changes(self, position: Position, among: Collection[str]) -> tuple[Sequence[DeviceChange], Position]:
        """The next changes after a position the index has reached, bounded, and the position after them.

        Of the devices `among` only, of all where it is empty. Where nothing changed, the index's own position.
        """

    async def moved(self, position: Position) -> None:
        """Returns once the index is further than a position."""


@dataclass(frozen=True, slots=True)
class StoredSide:
    """A side of a twin and the revision of its key, 0 until it is stored."""

    side: Side
    key_revision: int = 0


@dataclass(frozen=True, slots=True)
class TwinPosition:
    """How far the sides were read: the last sequence of each."""

    desired: int = 0
    reported: int = 0
    programs: int = 0


@dataclass(frozen=True, slots=True)
class TwinChange:
    """A side that was written, and by which sequence."""

    which: TwinSide
    device_id: str
    side: Side
    sequence: int


@dataclass(frozen=True, slots=True)
class StoredPrograms:
    """The programs of a twin and the revision of their key, 0 until they are stored."""

    side: ProgramsSide
    key_revision: int = 0


@dataclass(frozen=True, slots=True)
class ProgramsChange:
    """Programs that were written, and by which sequence."""

    device_id: str
    side: ProgramsSide
    sequence: int


class TwinStore(Protocol):
    """The truth about twins."""

    async def get(self, which: TwinSide, device_id: str) -> StoredSide:
        """The side, empty where nothing was written."""

    async def put(self, which: TwinSide, device_id: str, side: Side, key_revision: int) -> StoredSide:
        """Writes a side on top of `key_revision` (0: new); raises RevisionConflictError or InvalidRequestError."""

    async def history(self, which: TwinSide, device_id: str) -> Sequence[Side]:
        """The versions that are kept, oldest first."""

    async def position(self) -> TwinPosition:
        """Where the sides end now."""

    def device_ids(self) -> AsyncIterator[str]:
        """Every device that has a twin, once."""

    def follow(self, which: TwinSide, device_ids: Collection[str], after: int) -> AsyncIterator[TwinChange]:
        """The changes of one side after a sequence, of these devices (none: all), for ever."""

    async def programs(self, device_id: str) -> StoredPrograms:
        """The programs, none where nothing was written."""

    async def put_programs(self, device_id: str, side: ProgramsSide, key_revision: int) -> StoredPrograms:
        """Writes them on top of `key_revision` (0: new); raises RevisionConflictError."""

    def follow_programs(self, device_ids: Collection[str], after: int) -> AsyncIterator[ProgramsChange]:
        """As `follow`."""

    def with_programs(self) -> AsyncIterator[str]:
        """Every device that has programs, once."""


class GroupStore(Protocol):
    """The truth about groups."""

    async def get(self, name: str) -> Group | None:
        """The group, or None."""

    async def put(self, group: Group) -> Group:
        """Stores it on top of `group.revision` (0: new); raises RevisionConflictError."""

    async def delete(self, group: Group) -> None:
        """Forgets it; raises RevisionConflictError where `group.revision` is not the current one."""

    async def all(self) -> Sequence[Group]:
        """Every group, ordered by name."""


class DeviceWriter(Protocol):
    """Makes many devices known at once."""

    async def create_all(self, found: Sequence[DeviceRecord]) -> Sequence[int | YggError]:
        """For each the revision that it was stored with, or why it was not; all sent before the first is answered."""


class TokenStore(Protocol):
    """The truth about enrolment tokens."""

    async def get(self, token_id: str) -> Token | None:
        """The token, or None."""

    async def create(self, token: Token) -> None:
        """Stores a new token."""

    async def update(self, token: Token) -> None:
        """Stores a change of `token.revision`; raises RevisionConflictError where that is not the current one."""

    async def delete(self, token_id: str) -> None:
        """Forgets a token."""

    async def all(self) -> Sequence[Token]:
        """Every token that is kept."""


class Signer(Protocol):
    """The device CA."""

    @property
    def root_fingerprint(self) -> bytes:
        """SHA-256 of the root's DER, 32 bytes."""

    @property
    def end(self) -> datetime:
        """When the device CA ends, and with it every certificate of its."""

    def key_of(self, request: bytes, device_id: str) -> PublicKey:
        """The key of a PKCS#10 request in DER; raises InvalidRequestError where it is none, or names another device."""

    def sign(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> Granted:
        """A certificate for the key, that begins at `not_before` at the earliest."""

    def certificate_of(self, certificate: bytes, device_id: str) -> DeviceCertificate:
        """A certificate in DER; raises CertificateForeignError where this CA did not issue it for that device.

        Raises InvalidRequestError where it is no certificate. Whether it is valid now is not looked at.
        """

    def renew(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> Renewed:
        """A further certificate for the key, that begins at `not_before` at the earliest."""
