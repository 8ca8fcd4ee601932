"""Ports of the registry. Every method raises StoreUnavailableError if the store does not respond."""

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
    EnrolmentResult,
    Group,
    ProgramsSide,
    PublicKey,
    RenewalResult,
    Token,
    TwinSide,
)
from yggdrasil.registry.v1 import registry_pb2

DeviceMessage: TypeAlias = registry_pb2.Device


class Clock(Protocol):
    """Source of time, injected."""

    def now(self) -> datetime:
        """Return the current time in UTC."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""


class DeviceStore(Protocol):
    """The authoritative records of devices."""

    async def get(self, device_id: str) -> DeviceRecord | None:
        """Return the record, or None."""

    async def create(self, record: DeviceRecord) -> DeviceRecord:
        """Store a new record; raises RevisionConflictError if it exists."""

    async def update(self, record: DeviceRecord) -> DeviceRecord:
        """Store a change on top of `record.revision`; raises RevisionConflictError if that is not the current one."""


class RemovableDevices(DeviceStore, Protocol):
    """A store of devices that also deletes."""

    async def remove(self, record: DeviceRecord) -> int:
        """Delete the record; return a revision that is not before the deletion.

        Raises RevisionConflictError if `record.revision` is not the current one.
        """


class ContractStore(Protocol):
    """The authoritative contracts, and the documents that devices sent."""

    async def get(self, device_id: str) -> ContractRecord | None:
        """Return the current contract, or None."""

    async def history(self, device_id: str) -> Sequence[ContractRecord]:
        """Return every retained write of the device's contract, oldest first."""

    async def put(self, record: ContractRecord) -> ContractRecord:
        """Store the record on top of `record.key_revision` (0: new); raises RevisionConflictError."""

    def digest(self, contract: Contract) -> str:
        """Return the SHA-256 of the contract's content, lower-case hex."""

    async def document(self, digest: str) -> bytes | None:
        """Return the document with that digest, or None."""

    async def put_document(self, digest: str, document: bytes) -> None:
        """Store a document under its digest."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query for devices after an id, at most `limit`, that meet all conditions; None and no states mean any.

    `expires_before_unix_s`: the certificate of the last connection expires before that time.
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
    """The facts that queries are matched against: labels, presence, and the contract's content (None without one).

    `state` is the device's, such as `active`.
    """

    labels: Mapping[str, str]
    online: bool
    contract: tuple[Sequence[Capability], Sequence[Refusal]] | None
    state: str


@dataclass(frozen=True, slots=True)
class Position:
    """Progress of a watch: a sequence of each stream that devices consist of; `epoch` identifies the streams."""

    epoch: str
    sequences: tuple[int, ...]

    def at(self, number: int, sequence: int) -> Position:
        """Return the position with another sequence of one stream."""
        return Position(self.epoch, (*self.sequences[:number], sequence, *self.sequences[number + 1 :]))

    def reaches(self, other: Position) -> bool:
        """Return whether the position includes everything up to `other`."""
        return all(mine >= theirs for mine, theirs in zip(self.sequences, other.sequences, strict=True))


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """A device's current message, and the position after it; if it was deleted, only its id and the deletion's
    revision.
    """

    device: DeviceMessage
    deleted: bool
    position: Position


class Index(Protocol):
    """The read side, derived from the store's streams.

    Pages and watches return messages ready to send: converting every record to objects and back costs more than finding
    it.
    """

    async def get(self, device_id: str) -> DeviceView | None:
        """Return the device, or None."""

    async def find(self, query: Query) -> Sequence[DeviceMessage]:
        """Return devices ordered by id."""

    async def facts(self, device_ids: Collection[str]) -> Mapping[str, Facts]:
        """Return the facts of those devices that exist."""

    async def reached(self, bucket: str, revision: int) -> bool:
        """Wait until the index has applied a revision of a bucket, so that a writer reads its own write.

        Returns False after REACH_TIMEOUT_S seconds if the index is still behind.
        """

    def position(self) -> Position:
        """Return the current position of the index."""

    async def reached_position(self, position: Position) -> bool:
        """Wait until the index has applied a position, as `reached` does."""

    def changes(self, position: Position, among: Collection[str]) -> tuple[Sequence[DeviceChange], Position]:
        """Return the next changes after a position that the index has reached, bounded, and the position after them.

        Only changes of the devices in `among`, or of all if it is empty. Without changes, returns the index's own
        position.
        """

    async def moved(self, position: Position) -> None:
        """Return once the index is past a position."""


@dataclass(frozen=True, slots=True)
class StoredSide:
    """A side of a twin and the revision of its key, 0 until it is stored."""

    side: Side
    key_revision: int = 0


@dataclass(frozen=True, slots=True)
class TwinPosition:
    """Read positions of the sides: the last sequence of each."""

    desired: int = 0
    reported: int = 0
    programs: int = 0


@dataclass(frozen=True, slots=True)
class TwinChange:
    """A write of a side, and its sequence."""

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
    """A write of the programs, and its sequence."""

    device_id: str
    side: ProgramsSide
    sequence: int


class TwinStore(Protocol):
    """The authoritative twins."""

    async def get(self, which: TwinSide, device_id: str) -> StoredSide:
        """Return the side, empty if nothing was written."""

    async def put(self, which: TwinSide, device_id: str, side: Side, key_revision: int) -> StoredSide:
        """Write a side on top of `key_revision` (0: new); raises RevisionConflictError or InvalidRequestError."""

    async def history(self, which: TwinSide, device_id: str) -> Sequence[Side]:
        """Return the retained versions, oldest first."""

    async def position(self) -> TwinPosition:
        """Return the current end of the sides."""

    def device_ids(self) -> AsyncIterator[str]:
        """Yield every device that has a twin, once."""

    def follow(self, which: TwinSide, device_ids: Collection[str], after: int) -> AsyncIterator[TwinChange]:
        """Yield the changes of one side after a sequence, of these devices (none: all), forever."""

    async def programs(self, device_id: str) -> StoredPrograms:
        """Return the programs, none if nothing was written."""

    async def put_programs(self, device_id: str, side: ProgramsSide, key_revision: int) -> StoredPrograms:
        """Write the programs on top of `key_revision` (0: new); raises RevisionConflictError."""

    def follow_programs(self, device_ids: Collection[str], after: int) -> AsyncIterator[ProgramsChange]:
        """Yield the changes of programs, as `follow` does."""

    def with_programs(self) -> AsyncIterator[str]:
        """Yield every device that has programs, once."""


class GroupStore(Protocol):
    """The authoritative groups."""

    async def get(self, name: str) -> Group | None:
        """Return the group, or None."""

    async def put(self, group: Group) -> Group:
        """Store the group on top of `group.revision` (0: new); raises RevisionConflictError."""

    async def delete(self, group: Group) -> None:
        """Delete the group; raises RevisionConflictError if `group.revision` is not the current one."""

    async def all(self) -> Sequence[Group]:
        """Return every group, ordered by name."""


class DeviceWriter(Protocol):
    """Registers many devices in one pipelined batch."""

    async def create_all(self, found: Sequence[DeviceRecord]) -> Sequence[int | YggError]:
        """Return for each device its revision or the error; all are sent before the first is acknowledged."""


class TokenStore(Protocol):
    """The authoritative enrolment tokens."""

    async def get(self, token_id: str) -> Token | None:
        """Return the token, or None."""

    async def create(self, token: Token) -> None:
        """Store a new token."""

    async def update(self, token: Token) -> None:
        """Store a change on top of `token.revision`; raises RevisionConflictError if that is not the current one."""

    async def delete(self, token_id: str) -> None:
        """Delete a token."""

    async def all(self) -> Sequence[Token]:
        """Return every stored token."""


class Signer(Protocol):
    """The device CA."""

    @property
    def root_fingerprint(self) -> bytes:
        """SHA-256 of the root's DER, 32 bytes."""

    @property
    def end(self) -> datetime:
        """Expiry of the device CA, and so of all its certificates."""

    def key_of(self, request: bytes, device_id: str) -> PublicKey:
        """Return the key of a PKCS#10 request in DER; raises InvalidRequestError if it is invalid or for another
        device.
        """

    def sign(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> EnrolmentResult:
        """Return a certificate for the key that begins no earlier than `not_before`."""

    def certificate_of(self, certificate: bytes, device_id: str) -> DeviceCertificate:
        """Return a certificate in DER; raises CertificateForeignError unless this CA issued it for that device.

        Raises InvalidRequestError if it is not a certificate. Its validity is not checked.
        """

    def renew(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> RenewalResult:
        """Return a further certificate for the key that begins no earlier than `not_before`."""
