"""Chunks on their way to devices: in turns, from one bounded cache, behind whatever else there is to be said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.chassis.clock import SystemClock
from services.chassis.errors import RemoteError
from services.domain.errors import Code
from services.jotunheim_bridge.model import framing
from services.jotunheim_bridge.service import chunks
from services.jotunheim_bridge.service.chunks import (
    SLICE_CHUNKS,
    TURN_CHUNKS,
    ChunkCache,
    ChunkPump,
    EncodedChunk,
    Source,
    encode,
)
from services.jotunheim_bridge.service.meter import Meter
from services.jotunheim_bridge.service.ota import DeviceOta
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.device.v1 import ota_pb2 as ota
from yggdrasil.ota.v1 import relay_pb2 as pb

CHUNK = 256
IMAGE = b"\x07" * 32
NOT_THERE = RemoteError(Code.UNAVAILABLE, "TRY_AGAIN", "ota is away")


def chunk(index: int) -> tuple[bytes, bytes]:
    return index.to_bytes(2, "big") * (CHUNK // 2), bytes([index % 256]) * 64


@dataclass
class Store:
    """The service ota with an image of so many chunks; `faults` are raised first."""

    count: int = 1000
    faults: list[Exception] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def chunks(self, sha256: bytes, chunk_size: int, first: int, count: int) -> Sequence[tuple[bytes, bytes]]:
        assert (sha256, chunk_size) == (IMAGE, CHUNK)
        self.reads.append(first)
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        return [chunk(index) for index in range(first, min(first + count, self.count))]


@dataclass(eq=False)
class Device:
    """A session, and the indexes of chunks sent to it, by device and in total."""

    log: list[tuple[Device, int]]
    ota: DeviceOta | None = None
    ended: bool = False
    unsent: int = 0
    got: list[link.Frame] = field(default_factory=list)
    peer: str = ""
    certified_unix_s: float = 0
    expires_unix_s: float = 0

    @property
    def wire(self) -> Any:
        return self

    def unsent_bytes(self) -> int:
        return self.unsent

    def send_encoded(self, data: bytes) -> None:
        decoder = framing.FrameDecoder(4096)
        for frame in decoder.feed(data):
            self.got.append(frame)
            self.log.append((self, frame.ota_chunk.offset_bytes // CHUNK))

    def grant(self, first: int, count: int, size: int = 1000 * CHUNK) -> Device:
        offer = pb.Offer(chunk_size_bytes=CHUNK)
        source = Source(9, offer, IMAGE, size, first * CHUNK, (first + count) * CHUNK)
        self.ota = DeviceOta(Meter(100, "frames", 60, SystemClock()), source=source)
        return self

    @property
    def indexes(self) -> list[int]:
        return [frame.ota_chunk.offset_bytes // CHUNK for frame in self.got]


async def turns(done: Callable[[], bool]) -> int:
    """Turns of the loop until it is done."""
    for count in range(10_000):
        if done():
            return count
        await asyncio.sleep(0)
    raise AssertionError("it does not come to an end")


async def test_chunk_arrives_unchanged_with_update_id_of_device() -> None:
    device = Device([]).grant(70, 2)
    ChunkPump(Store()).add(device)
    await turns(lambda: len(device.got) == 2)
    data, proof = chunk(71)
    assert device.got[1].ota_chunk == ota.OtaChunk(update_id=9, offset_bytes=71 * CHUNK, data=data, proof=proof)


async def test_encoded_chunk_equals_protobuf_encoding() -> None:
    data, proof = chunk(3)
    (ready,) = encode([(data, proof)], 3 * CHUNK)
    whole = ota.OtaChunk(update_id=2**63 + 5, offset_bytes=3 * CHUNK, data=data, proof=proof)
    id_bytes = ota.OtaChunk(update_id=2**63 + 5).SerializeToString()
    assert ready.head + id_bytes + ready.tail == framing.encode(link.Frame(ota_chunk=whole))


async def test_no_chunk_beyond_the_credit_nor_beyond_the_image() -> None:
    short, last = Device([]).grant(0, 5), Device([]).grant(97, 16, size=99 * CHUNK + 10)
    pump = ChunkPump(Store(100))
    pump.add(short)
    pump.add(last)
    await turns(lambda: len(last.got) == 3)
    for _ in range(50):
        await asyncio.sleep(0)
    assert short.indexes == [0, 1, 2, 3, 4]
    assert last.indexes == [97, 98, 99]


async def test_devices_take_turns_by_slices() -> None:
    log: list[tuple[Device, int]] = []
    devices = [Device(log).grant(0, 2 * SLICE_CHUNKS) for _ in range(3)]
    pump = ChunkPump(Store())
    for device in devices:
        pump.add(device)
    await turns(lambda: len(log) == 6 * SLICE_CHUNKS)
    order = [log[at][0] for at in range(0, len(log), SLICE_CHUNKS)]
    assert order == [*devices, *devices]


async def test_call_waits_for_one_turn_of_chunks_only() -> None:
    log: list[tuple[Device, int]] = []
    pump = ChunkPump(Store())
    warm = Device(log).grant(0, 1)
    pump.add(warm)
    await turns(lambda: len(log) == 1)
    log.clear()
    for _ in range(200):
        pump.add(Device(log).grant(0, 16))
    most = 0
    while len(log) < 200 * 16:
        before = len(log)
        await asyncio.sleep(0)  # other ready tasks run here
        most = max(most, len(log) - before)
    assert most <= TURN_CHUNKS + SLICE_CHUNKS


async def test_a_device_that_does_not_read_gets_no_more_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "UNSENT_WAIT_S", 0)
    log: list[tuple[Device, int]] = []
    deaf, other = Device(log, unsent=chunks.MAX_UNSENT_BYTES + 1).grant(0, 16), Device(log).grant(0, 16)
    pump = ChunkPump(Store())
    pump.add(deaf)
    pump.add(other)
    await turns(lambda: len(other.got) == 16)
    assert not deaf.got
    deaf.unsent = 0
    await turns(lambda: len(deaf.got) == 16)


async def test_many_devices_read_a_batch_from_ota_once() -> None:
    store = Store()
    devices = [Device([]).grant(0, 64) for _ in range(20)]
    pump = ChunkPump(store)
    for device in devices:
        pump.add(device)
    await turns(lambda: all(len(device.got) == 64 for device in devices))
    assert store.reads == [0]


async def test_a_read_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.0)
    store = Store(faults=[NOT_THERE, NOT_THERE])
    device = Device([]).grant(0, 1)
    ChunkPump(store).add(device)
    await turns(lambda: len(device.got) == 1)
    assert store.reads == [0, 0, 0]


async def test_nothing_is_read_for_devices_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.0)
    store = Store(faults=[NOT_THERE] * 1000)
    device = Device([]).grant(0, 1)
    pump = ChunkPump(store)
    pump.add(device)
    await turns(lambda: len(store.reads) == 3)
    device.ended = True
    await turns(lambda: device.ota is not None and not device.ota.queued)
    assert len(store.reads) < 10


async def test_device_that_rewinds_during_a_read_gets_new_offset() -> None:
    store = Store(gate=asyncio.Event())
    device = Device([]).grant(64, 2)
    pump = ChunkPump(store)
    pump.add(device)
    await turns(lambda: bool(store.reads))
    assert device.ota is not None and device.ota.source is not None and store.gate is not None
    device.ota.source.position, device.ota.source.limit = 3 * CHUNK, 5 * CHUNK
    store.gate.set()
    await turns(lambda: len(device.got) == 2)
    assert device.indexes == [3, 4]


async def test_nothing_is_sent_after_a_stop() -> None:
    store = Store(gate=asyncio.Event())
    device = Device([]).grant(0, 1)
    pump = ChunkPump(store)
    pump.add(device)
    await turns(lambda: bool(store.reads))
    await pump.stop()
    assert store.gate is not None
    store.gate.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not device.got


def test_the_cache_holds_no_more_than_its_bound() -> None:
    cache = ChunkCache(max_bytes=1000)
    for number in range(10):
        cache.put((IMAGE, CHUNK, number), [EncodedChunk(b"", bytes(400), 400)])
        assert cache.size_bytes <= 1000
    assert cache.get((IMAGE, CHUNK, 0)) is None
    assert cache.get((IMAGE, CHUNK, 9)) is not None


def test_a_batch_put_twice_counts_once() -> None:
    cache = ChunkCache(max_bytes=1000)
    for _ in range(3):
        cache.put((IMAGE, CHUNK, 0), [EncodedChunk(b"", bytes(400), 400)])
    assert cache.size_bytes == 400


def test_ota_hears_of_progress_by_quarters() -> None:
    device = DeviceOta(Meter(1000, "frames", 60, SystemClock()))
    device.on_offer(pb.Offer(offer=ota.OtaOffer(update_id=9), image_size_bytes=1000))
    heard = []
    for written in range(0, 1001, 50):
        device.on_frame(link.Frame(ota_progress=ota.OtaProgress(update_id=9, written_bytes=written)))
        heard += [report.progress.written_bytes for report in device.reports]
        device.reports.clear()
    assert heard == [250, 500, 750, 1000]
    assert device.written_bytes == 1000
