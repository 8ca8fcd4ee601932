"""What the registry needs from outside. Every method raises StoreUnavailableError where the store does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.domain.contract import Contract
from services.domain.requirements import Requirement
from services.domain.selectors import Selector
from services.domain.twin import Side
from services.registry.model import (
    ContractRecord,
    DeviceRecord,
    DeviceView,
    Granted,
    PublicKey,
    Token,
    TwinSide,
)


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> datetime:
        """UTC."""


class DeviceStore(Protocol):
    """The truth about devices."""

    async def get(self, device_id: str) -> DeviceRecord | None:
        """The record, or None."""

    async def create(self, record: DeviceRecord) -> DeviceRecord:
        """Stores a new record; raises RevisionConflictError where there is one."""

    async def update(self, record: DeviceRecord) -> DeviceRecord:
        """Stores a change of `record.revision`; raises RevisionConflictError where that is not the current one."""


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
    """Which devices: after an id, at most so many, all conditions met; `online` None means either."""

    after: str = ""
    limit: int = 100
    selector: Selector = field(default_factory=Selector)
    has: tuple[Requirement, ...] = ()
    online: bool | None = None


class Index(Protocol):
    """The read side, kept from the store's streams."""

    async def get(self, device_id: str) -> DeviceView | None:
        """The device, or None."""

    async def find(self, query: Query) -> Sequence[DeviceView]:
        """Devices ordered by id."""

    async def reached(self, bucket: str, revision: int) -> None:
        """Returns once the index has applied a revision of a bucket, so that a writer reads its own write."""

    def changes(self) -> AsyncIterator[Sequence[str]]:
        """Ids of devices that changed, from now on; a slow reader gets each id once, however often it changed."""


@dataclass(frozen=True, slots=True)
class StoredSide:
    """A side of a twin and the revision of its key, 0 until it is stored."""

    side: Side
    key_revision: int = 0


@dataclass(frozen=True, slots=True)
class TwinPosition:
    """How far both sides were read: the last sequence of each."""

    desired: int = 0
    reported: int = 0


@dataclass(frozen=True, slots=True)
class TwinChange:
    """A side that was written, and by which sequence."""

    which: TwinSide
    device_id: str
    side: Side
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
        """Where both sides end now."""

    def device_ids(self) -> AsyncIterator[str]:
        """Every device that has a twin, once."""

    def follow(self, which: TwinSide, device_ids: Collection[str], after: int) -> AsyncIterator[TwinChange]:
        """The changes of one side after a sequence, of these devices (none: all), for ever."""


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

    def key_of(self, request: bytes, device_id: str) -> PublicKey:
        """The key of a PKCS#10 request in DER; raises InvalidRequestError where it is none, or names another device."""

    def sign(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> Granted:
        """A certificate for the key, that begins at `not_before` at the earliest."""
