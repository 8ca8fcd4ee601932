"""What ota needs from outside: images, tables, the registry, events, patches, a lease."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from services.domain.access import DeviceAccess
from services.ota.model import Header, Image

T = TypeVar("T")


class ObjectStore(Protocol):
    """Images by SHA-256. Nothing that is half-written is ever visible.

    Every method raises UNAVAILABLE (ObjectStoreError, StoreUnavailableError) where the store does not answer.
    """

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """Stores an image; returned at once, without reading `chunks`, where it is there already.

        Raises SizeMismatchError and DigestMismatchError; these, cancellation, and whatever `chunks` raises leave
        nothing behind. Of two at once with the same digest both succeed and one is kept.
        """

    def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """`length` bytes from `offset`, in parts of any size up to 1 MiB; the range lies in the image.

        `image` is as `stat` returned it; raises ImageNotFoundError where it is gone since.
        """

    async def stat(self, sha256: str) -> Image | None:
        """The image, or None."""

    async def delete(self, sha256: str) -> bool:
        """Removes the image; False where there was none."""

    async def list(self, after: str, limit: int) -> Sequence[Image]:
        """At most `limit` images whose digests come after `after`, ordered by digest."""

    async def sweep(self) -> int:
        """Removes what uploads left that died with their process; returns how many.

        Goes by what it saw the last time: an unfinished upload seen twice is dead, so the calls must lie further
        apart than an upload may take.
        """


class PartStore(Protocol):
    """Parts of unfinished uploads by SHA-256, shared by all replicas; bounded in number, each gone after its time.

    Every method raises StoreUnavailableError where the store does not answer.
    """

    async def put(self, part: str, data: bytes) -> None:
        """Keeps a part, PART_BYTES at most; stored when it returns. Raises PartsFullError."""

    async def get(self, part: str) -> bytes | None:
        """Its bytes, or None."""

    async def drop(self, part: str) -> None:
        """Removes it; nothing where it is not there."""

    async def held(self) -> frozenset[str]:
        """All that are there."""


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A stored value and the revision that wrote it, for compare-and-set."""

    key: str
    value: T
    revision: int


class Table(Protocol[T]):
    """Values by key: read from a view in memory that follows the store, written by compare-and-set.

    Writes raise RevisionConflictError where somebody else was first and StoreUnavailableError where NATS is gone.
    """

    def get(self, key: str) -> Row[T] | None:
        """The row as the view has it, or None."""

    def rows(self) -> list[Row[T]]:
        """All rows as the view has them."""

    async def fresh(self, key: str) -> Row[T] | None:
        """The row as the store has it; the view learns it too."""

    async def create(self, key: str, value: T) -> Row[T]:
        """Writes a row that is not there."""

    async def update(self, row: Row[T], value: T) -> Row[T]:
        """Writes a row that is as it was read."""

    async def changed(self) -> None:
        """Returns when the view has changed since it was last asked."""


class Archive(Protocol):
    """Lists of JSON values by key, written once and read seldom. Raises StoreUnavailableError if NATS is away."""

    async def put(self, key: str, rows: Sequence[Any]) -> None:
        """Stores a list; stored when it returns. Idempotent."""

    async def get(self, key: str) -> list[Any] | None:
        """The list, None if there is none."""


class Registry(Protocol):
    """What ota wants to know from the registry."""

    async def matching(self, selector: str) -> list[KnownDevice]:
        """Active devices that match a label selector, "" for all. Raises RemoteError."""

    async def access(self, device_id: str) -> DeviceAccess | None:
        """Return the device's current access, or None if it was never registered. Raises RemoteError."""


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device as the registry knows it."""

    device_id: str
    device_class: str
    online: bool


class Events(Protocol):
    """What happens, told to whoever listens on NATS."""

    async def publish(self, rollout_id: str, kind: str, device_id: str = "", text: str = "") -> None:
        """Publishes one event; a failure is logged and not raised, for the state does not depend on it."""


class Patches(Protocol):
    """Makes patches, out of the process and without holding it up."""

    async def make(self, old: bytes, new: bytes, formats: int) -> bytes | None:
        """The smallest patch of the formats (1 CRLE, 2 heatshrink, added), None where none is worth it."""


class Lease(Protocol):
    """Who conducts: at most one replica at a time, but for moments when a lease changes hands."""

    async def held(self) -> bool:
        """Takes or renews the lease; True where this replica has it."""
