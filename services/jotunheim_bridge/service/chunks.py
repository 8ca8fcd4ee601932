"""Sends chunks of updates to devices: from one bounded cache, sessions in round-robin order.

        flush ──► queue ──► a slice of at most SLICE_CHUNKS chunks ──► more due: end of the queue
                   ▲ │        in one write, from the cache
                   │ └─ batch not cached: read from ota ─┐
                   └─────────────────────────────────────┘

One iteration of the event loop writes about TURN_CHUNKS, so that other work, calls above all, waits for no more than
that. Chunks with credit that are not written yet stay here, so a call to the same device overtakes them. Chunks are
encoded once for all devices: only the update id differs. Owns no connection and validates nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.domain.errors import YggError
from services.jotunheim_bridge.model import framing
from services.jotunheim_bridge.ports import Wire
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.device.v1 import ota_pb2 as ota
from yggdrasil.ota.v1 import relay_pb2 as pb

SLICE_CHUNKS = 8
"""Chunks of one device in one write: the credit that its agent grants at a time."""
TURN_CHUNKS = 16
"""Chunks of all devices in one iteration of the event loop."""
BATCH_CHUNKS = 64
"""Chunks per read from ota, and per cache entry."""
MAX_CACHE_BYTES = 16 * 1024 * 1024
MAX_UNSENT_BYTES = 32 * 1024
"""A device with more unread output gets no chunk until it has read on, since a call would wait behind it."""
UNSENT_WAIT_S = 0.02
"""Delay before such a device is tried again, in seconds."""
RETRY_S = 0.25
MAX_RETRY_S = 5.0
_CHUNK = link.Frame.OTA_CHUNK_FIELD_NUMBER
_ID_BYTES = len(ota.OtaChunk(update_id=1).SerializeToString())
_log = logging.getLogger(__name__)


class ChunkSource(Protocol):
    """The chunks of the service ota."""

    async def chunks(self, sha256: bytes, chunk_size: int, first: int, count: int) -> Sequence[tuple[bytes, bytes]]:
        """Return at most `count` chunks from index `first` on, with their audit paths. Raises RemoteError."""


@dataclass(slots=True)
class Source:
    """The image or patch of an update, and the credit: bytes from `position` to `limit` may be sent."""

    update_id: int
    offer: pb.Offer
    sha256: bytes = b""
    size: int = 0
    position: int = 0
    limit: int = 0

    @property
    def chunk_size(self) -> int:
        """Chunk size in bytes."""
        return self.offer.chunk_size_bytes

    @property
    def due(self) -> bool:
        """Whether there is a chunk to send."""
        return self.position < min(self.limit, self.size)


class ActiveUpdate(Protocol):
    """The download state of a session. `queued`: it waits for its turn or for a batch."""

    source: Source | None
    queued: bool


class ChunkReceiver(Protocol):
    """A session that receives chunks."""

    ended: bool

    @property
    def wire(self) -> Wire:
        """Its link."""

    @property
    def ota(self) -> ActiveUpdate | None:
        """Its update state, or None if the device has not agreed on the feature."""


class EncodedChunk(NamedTuple):
    """An encoded chunk without the update id, which goes between `head` and `tail`; `size` in bytes of the image."""

    head: bytes
    tail: bytes
    size: int


Key = tuple[bytes, int, int]
"""Digest, chunk size, batch number."""


class ChunkCache:
    """LRU cache of batches of encoded chunks, bounded by `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._max_bytes, self.size_bytes = max_bytes, 0
        self._batches: OrderedDict[Key, list[EncodedChunk]] = OrderedDict()

    def get(self, key: Key) -> list[EncodedChunk] | None:
        """Return the batch, or None."""
        found = self._batches.get(key)
        if found is not None:
            self._batches.move_to_end(key)
        return found

    def put(self, key: Key, batch: list[EncodedChunk]) -> None:
        """Store a batch; the newest one stays, whatever its size."""
        self._drop(key)
        self._batches[key] = batch
        self.size_bytes += _bytes(batch)
        while self.size_bytes > self._max_bytes and len(self._batches) > 1:
            self._drop(next(iter(self._batches)))

    def _drop(self, key: Key) -> None:
        self.size_bytes -= _bytes(self._batches.pop(key, []))


class ChunkPump:
    """The queue of sessions with chunks due."""

    def __init__(self, ota: ChunkSource, cache: ChunkCache | None = None) -> None:
        self._ota, self._cache = ota, cache or ChunkCache()
        self._queue: deque[ChunkReceiver] = deque()
        self._reads: dict[Key, asyncio.Task[None]] = {}
        self._waiting: dict[Key, list[ChunkReceiver]] = {}
        self._turn_due = self._stopped = False

    def add(self, session: ChunkReceiver) -> None:
        """Queue a session, unless it is queued already or has nothing due."""
        update = session.ota
        if update is not None and not update.queued and update.source is not None and update.source.due:
            update.queued = True
            self._enqueue(session)

    async def stop(self) -> None:
        """Cancel pending reads; nothing is sent any more."""
        self._stopped = True
        self._queue.clear()
        reads = list(self._reads.values())
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)

    def _enqueue(self, session: ChunkReceiver) -> None:
        if not self._stopped:
            self._queue.append(session)
            self._schedule()

    def _schedule(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        left = TURN_CHUNKS
        while self._queue and left > 0:
            left -= self._serve(self._queue.popleft())
        self._turn_due = False
        if self._queue:
            self._schedule()

    def _serve(self, session: ChunkReceiver) -> int:
        """Send one slice; return the number of chunks sent."""
        update = session.ota
        if update is None:
            return 0
        source = update.source
        if session.ended or source is None or not source.due:
            update.queued = False
            return 0
        if session.wire.unsent_bytes() > MAX_UNSENT_BYTES:
            asyncio.get_running_loop().call_later(UNSENT_WAIT_S, self._enqueue, session)
            return 0
        key = _key(source)
        batch = self._cache.get(key)
        if batch is None:
            self._read(key, session)
            return 0
        sent = _send_slice(session.wire, source, batch)
        if sent and source.due:
            self._enqueue(session)
        else:  # if the batch ends before the image, ota and the offer disagree: the device will report it
            update.queued = False
        return sent

    def _read(self, key: Key, session: ChunkReceiver) -> None:
        self._waiting.setdefault(key, []).append(session)
        if key not in self._reads:
            self._reads[key] = asyncio.get_running_loop().create_task(self._fill(key))

    async def _fill(self, key: Key) -> None:
        """Read a batch, with retries, until it is cached or no session needs it."""
        wait_s, (sha256, chunk_size, number) = RETRY_S, key
        try:
            while any(_needs(session, key) for session in self._waiting[key]):
                try:
                    found = await self._ota.chunks(sha256, chunk_size, number * BATCH_CHUNKS, BATCH_CHUNKS)
                except YggError as e:
                    _log.warning("chunk read failed", extra={"batch": number, "why": e.message})
                    await asyncio.sleep(random.uniform(0.1, wait_s))  # noqa: S311 - load spreading, not security
                    wait_s = min(2 * wait_s, MAX_RETRY_S)
                    continue
                self._cache.put(key, encode(found, number * BATCH_CHUNKS * chunk_size))
                break
        finally:
            del self._reads[key]
            for session in self._waiting.pop(key):
                self._enqueue(session)


def _key(source: Source) -> Key:
    return source.sha256, source.chunk_size, source.position // source.chunk_size // BATCH_CHUNKS


def _needs(session: ChunkReceiver, key: Key) -> bool:
    source = session.ota.source if session.ota is not None and not session.ended else None
    return source is not None and source.due and _key(source) == key


def encode(chunks: Sequence[tuple[bytes, bytes]], offset: int) -> list[EncodedChunk]:
    """Encode consecutive chunks with their audit paths, the first one at `offset`."""
    found = []
    for data, proof in chunks:
        tail = ota.OtaChunk(offset_bytes=offset, data=data, proof=proof).SerializeToString()
        found.append(EncodedChunk(framing.head(_CHUNK, _ID_BYTES + len(tail)), tail, len(data)))
        offset += len(data)
    return found


def _send_slice(wire: Wire, source: Source, batch: list[EncodedChunk]) -> int:
    first = source.position // source.chunk_size % BATCH_CHUNKS
    end = min(source.limit, source.size)
    update_id = ota.OtaChunk(update_id=source.update_id).SerializeToString()
    parts: list[bytes] = []
    for head, tail, size in batch[first : first + SLICE_CHUNKS]:
        if source.position >= end:
            break
        parts += (head, update_id, tail)
        source.position += size
    if parts:
        wire.send_encoded(b"".join(parts))
    return len(parts) // 3


def _bytes(batch: list[EncodedChunk]) -> int:
    return sum(len(one.head) + len(one.tail) for one in batch)
