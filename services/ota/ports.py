"""Ports of the OTA service: images, parts, tables, registry, events, patches, lease."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from services.domain.access import DeviceAccess
from services.ota.model import Header, Image

T = TypeVar("T")


class ObjectStore(Protocol):
    """Images by SHA-256. A partially written image is never visible.

    Every method raises UNAVAILABLE (ObjectStoreError, StoreUnavailableError) if the store does not answer.
    """

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """Store an image; return it immediately, without reading `chunks`, if it already exists.

        Raises SizeMismatchError and DigestMismatchError; these, cancellation, and exceptions of `chunks` leave nothing
        behind. Of two concurrent uploads of a digest both succeed and one is kept.
        """

    def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes from `offset`, in parts of any size up to 1 MiB; the range must be within the image.

        `image` is a result of `stat`; raises ImageNotFoundError if it was deleted since.
        """

    async def stat(self, sha256: str) -> Image | None:
        """Return the image, or None."""

    async def delete(self, sha256: str) -> bool:
        """Delete the image; return False if it did not exist."""

    async def list(self, after: str, limit: int) -> Sequence[Image]:
        """Return at most `limit` images after the digest `after`, ordered by digest."""

    async def sweep(self) -> int:
        """Remove the remains of uploads of dead processes; return their number.

        An unfinished upload seen in two consecutive calls is dead, so the interval between calls must exceed the
        maximum duration of an upload.
        """


class PartStore(Protocol):
    """Parts of unfinished uploads by SHA-256, shared by all replicas; bounded in number, each expires.

    Every method raises StoreUnavailableError if the store does not answer.
    """

    async def put(self, part: str, data: bytes) -> None:
        """Store a part of at most PART_BYTES; durable on return. Raises PartsFullError."""

    async def get(self, part: str) -> bytes | None:
        """Return the part, or None."""

    async def drop(self, part: str) -> None:
        """Delete the part, if stored."""

    async def stored(self) -> frozenset[str]:
        """Return the digests of all stored parts."""


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A stored value and its revision, for compare-and-set."""

    key: str
    value: T
    revision: int


class Table(Protocol[T]):
    """Values by key: read from an in-memory view that follows the store, written by compare-and-set.

    Writes raise RevisionConflictError after a concurrent write, and StoreUnavailableError if NATS is unavailable.
    """

    def get(self, key: str) -> Row[T] | None:
        """Return the row of the view, or None."""

    def rows(self) -> list[Row[T]]:
        """Return all rows of the view."""

    async def fresh(self, key: str) -> Row[T] | None:
        """Return the row of the store, and update the view with it."""

    async def create(self, key: str, value: T) -> Row[T]:
        """Write a new row."""

    async def update(self, row: Row[T], value: T) -> Row[T]:
        """Write a row that is unchanged since it was read."""

    async def changed(self) -> None:
        """Wait until the view has changed since the last call."""


class Archive(Protocol):
    """Lists of JSON values by key, written once and rarely read. Raises StoreUnavailableError."""

    async def put(self, key: str, rows: Sequence[Any]) -> None:
        """Store a list; durable on return. Idempotent."""

    async def get(self, key: str) -> list[Any] | None:
        """Return the list, or None."""


class Registry(Protocol):
    """The part of the registry that the OTA service uses."""

    async def matching(self, selector: str) -> list[KnownDevice]:
        """Return active devices that match a label selector, "" for all. Raises RemoteError."""

    async def access(self, device_id: str) -> DeviceAccess | None:
        """Return the device's current access, or None if it was never registered. Raises RemoteError."""


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device in the registry."""

    device_id: str
    device_class: str
    online: bool


class Events(Protocol):
    """Events of rollouts on NATS."""

    async def publish(self, rollout_id: str, kind: str, device_id: str = "", text: str = "") -> None:
        """Publish an event; a failure is logged and not raised, since no state depends on it."""


class Patches(Protocol):
    """Makes patches in another process."""

    async def make(self, old: bytes, new: bytes, formats: int) -> bytes | None:
        """Return the smallest patch of the formats (1 CRLE, 2 heatshrink, added), or None if none is worthwhile."""


class Lease(Protocol):
    """The conductor's lease: at most one replica has it, except for moments when it changes hands."""

    async def held(self) -> bool:
        """Acquire or renew the lease; return whether this replica has it."""
