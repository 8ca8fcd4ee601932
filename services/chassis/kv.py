"""A JetStream key-value bucket, with errors of this package and optimistic concurrency.

Source: NATS ADR-8 (JetStream based key-value stores).
"""

from __future__ import annotations

from dataclasses import dataclass

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.kv import KeyValue

from services.chassis.errors import TooLargeError
from services.chassis.nats import convert_errors
from services.chassis.streams import ensure_stream
from services.domain import subjects

_DUPLICATE_WINDOW_S = 120.0
"""How long NATS recognises a repeated message id, in seconds; at most the lifetime of an entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and the revision that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """Configuration of a bucket: revisions kept per key (1 to 64), lifetime of an entry in seconds (0: unlimited)."""

    name: str
    history: int = 1
    ttl_s: float = 0
    max_value_bytes: int = 256 * 1024

    @property
    def stream(self) -> str:
        """The name of the underlying stream."""
        return f"KV_{self.name}"

    def subject(self, key: str = ">") -> str:
        """Return the subject of a key in that stream, all keys (">"), or their prefix (""); raises InvalidIdError."""
        return f"$KV.{self.name}.{key if key in ('>', '') else subjects.key(key)}"


class Bucket:
    """One bucket. Every method raises StoreUnavailableError if NATS does not respond.

    Methods with a key raise InvalidIdError if it is invalid, methods with a value TooLargeError.
    """

    def __init__(self, spec: BucketSpec, store: KeyValue) -> None:
        self.spec = spec
        self._store = store

    @classmethod
    async def create(cls, js: JetStreamContext, spec: BucketSpec) -> Bucket:
        """Create or update the bucket and bind it. For the service that owns it."""
        config = StreamConfig(
            name=spec.stream,
            subjects=[spec.subject()],
            max_msgs_per_subject=spec.history,
            max_age=spec.ttl_s or None,
            max_msg_size=spec.max_value_bytes,
            duplicate_window=min(spec.ttl_s or _DUPLICATE_WINDOW_S, _DUPLICATE_WINDOW_S),
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            allow_rollup_hdrs=True,
            allow_msg_ttl=True,
            allow_direct=True,
            deny_delete=True,
        )
        await ensure_stream(js, config)
        return cls.bind(js, spec)

    @classmethod
    def bind(cls, js: JetStreamContext, spec: BucketSpec) -> Bucket:
        """Bind the bucket of another service for reading. While it does not exist, every method raises."""
        return cls(spec, KeyValue(spec.name, spec.stream, f"$KV.{spec.name}.", js, direct=True))

    async def get(self, key: str) -> Entry | None:
        """Return the entry, or None if it does not exist."""
        with convert_errors(f"{self.spec.name}/{key}"):
            try:
                entry = await self._store.get(subjects.key(key))
            except nats.js.errors.KeyNotFoundError:  # the error for a deleted key is a subclass
                return None
        return Entry(key, entry.value or b"", entry.revision or 0)

    async def create_key(self, key: str, value: bytes) -> int:
        """Create a key and return its revision. Raises RevisionConflictError if it exists."""
        with convert_errors(f"{self.spec.name}/{key}"):
            return await self._store.create(subjects.key(key), self._checked(key, value))

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Write a key on top of its current `revision`; return the new one. Raises RevisionConflictError."""
        with convert_errors(f"{self.spec.name}/{key}"):
            return await self._store.update(subjects.key(key), self._checked(key, value), revision)

    async def put(self, key: str, value: bytes) -> int:
        """Write a key unconditionally; return its revision."""
        with convert_errors(f"{self.spec.name}/{key}"):
            return await self._store.put(subjects.key(key), self._checked(key, value))

    async def keys(self) -> list[str]:
        """Return all keys; for small buckets."""
        with convert_errors(self.spec.name):
            try:
                return await self._store.keys()
            except nats.js.errors.NoKeysError:
                return []

    async def delete(self, key: str, revision: int = 0) -> None:
        """Write a delete marker; unless `revision` is 0, it must be the current one. Raises RevisionConflictError."""
        with convert_errors(f"{self.spec.name}/{key}"):
            await self._store.delete(subjects.key(key), last=revision or None)

    def _checked(self, key: str, value: bytes) -> bytes:
        size, limit = len(value), self.spec.max_value_bytes
        if size > limit:
            raise TooLargeError(
                f"{self.spec.name}/{key}: a record of {size} bytes; the maximum is {limit}", size=size, limit=limit
            )
        return value
