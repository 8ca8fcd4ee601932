"""The chunks of updates on their way to devices: from one bounded cache, all sessions in turns.

        flush ──► line ──► a slice of at most SLICE_CHUNKS chunks ──► still due: end of the line
                  ▲ │        in one write, out of the cache
                  │ └─ batch not here: read from ota ─┐
                  └───────────────────────────────────┘

A turn of the event loop writes about TURN_CHUNKS, so whatever else came (a call above all) waits for no more than
those. What a device has credit for and is not written yet stays here, so a call to it overtakes that. Chunks are
encoded once for all devices: only the update's id differs. Owns no connection and judges nothing.
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
"""Chunks of one device written at once: what its agent asks for at a time."""
TURN_CHUNKS = 16
BATCH_CHUNKS = 64
"""Chunks asked of ota at once."""
MAX_CACHE_BYTES = 16 * 1024 * 1024
MAX_UNSENT_BYTES = 32 * 1024
"""A device that leaves so much unread gets no chunk before it has read on: a call would wait behind it."""
UNSENT_WAIT_S = 0.02
RETRY_S = 0.25
MAX_RETRY_S = 5.0
_CHUNK = link.Frame.OTA_CHUNK_FIELD_NUMBER
_ID_BYTES = len(ota.OtaChunk(update_id=1).SerializeToString())
_log = logging.getLogger(__name__)


class ChunkSource(Protocol):
    """The service ota, as far as chunks go."""

    async def chunks(self, sha256: bytes, chunk_size: int, first: int, count: int) -> Sequence[tuple[bytes, bytes]]:
        """At most `count` chunks from index `first` on, with their audit paths. Raises RemoteError."""


@dataclass(slots=True)
class Source:
    """What chunks come from, and how far they may be sent: bytes from `position` to `limit` have credit."""

    update_id: int
    offer: pb.Offer
    sha256: bytes = b""
    size: int = 0
    position: int = 0
    limit: int = 0

    @property
    def chunk_size(self) -> int:
        """Length of a chunk."""
        return self.offer.chunk_size_bytes

    @property
    def due(self) -> bool:
        """There is a chunk to send."""
        return self.position < min(self.limit, self.size)


class ActiveUpdate(Protocol):
    """The part of a session's update that matters here. `queued`: it waits for its turn or for a batch."""

    source: Source | None
    queued: bool


class ChunkReceiver(Protocol):
    """A session that takes chunks."""

    ended: bool

    @property
    def wire(self) -> Wire:
        """Its link."""

    @property
    def ota(self) -> ActiveUpdate | None:
        """None where the device takes no updates."""


class EncodedChunk(NamedTuple):
    """An encoded chunk but for the update's id, which goes between `head` and `tail`; `size` in bytes of the image."""

    head: bytes
    tail: bytes
    size: int


Key = tuple[bytes, int, int]
"""Digest, length of a chunk, number of the batch."""


class ChunkCache:
    """Batches of encoded chunks, the least recently used dropped beyond `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._max_bytes, self.held_bytes = max_bytes, 0
        self._batches: OrderedDict[Key, list[EncodedChunk]] = OrderedDict()

    def get(self, key: Key) -> list[EncodedChunk] | None:
        """The batch, where it is here."""
        found = self._batches.get(key)
        if found is not None:
            self._batches.move_to_end(key)
        return found

    def put(self, key: Key, batch: list[EncodedChunk]) -> None:
        """Keeps a batch; the newest one stays whatever its size."""
        self._drop(key)
        self._batches[key] = batch
        self.held_bytes += _bytes(batch)
        while self.held_bytes > self._max_bytes and len(self._batches) > 1:
            self._drop(next(iter(self._batches)))

    def _drop(self, key: Key) -> None:
        self.held_bytes -= _bytes(self._batches.pop(key, []))


class ChunkPump:
    """The line of sessions that have chunks due."""

    def __init__(self, ota: ChunkSource, cache: ChunkCache | None = None) -> None:
        self._ota, self._cache = ota, cache or ChunkCache()
        self._queue: deque[ChunkReceiver] = deque()
        self._reads: dict[Key, asyncio.Task[None]] = {}
        self._waiting: dict[Key, list[ChunkReceiver]] = {}
        self._turn_due = self._stopped = False

    def add(self, session: ChunkReceiver) -> None:
        """Puts a session at the end of the line, unless it stands there or has nothing due."""
        update = session.ota
        if update is not None and not update.queued and update.source is not None and update.source.due:
            update.queued = True
            self._enqueue(session)

    async def stop(self) -> None:
        """Ends what is under way; nothing is sent any more."""
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
        """Sends one slice; returns what of the turn that took, in chunks."""
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
        else:  # a batch that ends before the image does: ota and the offer disagree, and the device will say so
            update.queued = False
        return sent

    def _read(self, key: Key, session: ChunkReceiver) -> None:
        self._waiting.setdefault(key, []).append(session)
        if key not in self._reads:
            self._reads[key] = asyncio.get_running_loop().create_task(self._fill(key))

    async def _fill(self, key: Key) -> None:
        """Reads a batch until it is here or nobody wants it any more."""
        wait_s, (sha256, chunk_size, number) = RETRY_S, key
        try:
            while any(_needs(session, key) for session in self._waiting[key]):
                try:
                    found = await self._ota.chunks(sha256, chunk_size, number * BATCH_CHUNKS, BATCH_CHUNKS)
                except YggError as e:
                    _log.warning("chunk read failed", extra={"batch": number, "why": e.message})
                    await asyncio.sleep(random.uniform(0.1, wait_s))  # noqa: S311 - it spreads load, it guards nothing
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
    """Chunks with their audit paths, the first one at `offset`, ready to be sent."""
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
