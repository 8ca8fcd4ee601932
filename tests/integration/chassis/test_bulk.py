"""The bulk reader and writer on a real nats-server: complete, in order, and with our errors."""

from __future__ import annotations

import asyncio
import random
import socket
import threading

import pytest
from nats.aio.client import Client

from services.chassis import buckets, kv
from services.chassis import nats as chassis_nats
from services.chassis.bulk import PULL_MESSAGES, Change, StreamReader
from services.chassis.errors import RevisionConflictError, StoreUnavailableError, TooLargeError
from services.chassis.kv_writer import KvWriter
from tests.fixtures.nats import Connect, NatsServer
from tests.fixtures.pki import Pki

STREAM, PREFIX = buckets.DEVICES.stream, buckets.DEVICES.subject("")


@pytest.fixture
async def client(connect_fresh_nats: Connect) -> Client:
    """A client with the registry's permissions and an empty bucket."""
    found = await connect_fresh_nats("registry")
    await kv.Bucket.create(chassis_nats.jetstream(found), buckets.DEVICES)
    return found


@pytest.fixture
async def writer(client: Client) -> KvWriter:
    writer = KvWriter(client, buckets.DEVICES)
    await writer.open()
    return writer


def _reader(server: NatsServer, pki: Pki) -> StreamReader:
    return StreamReader(server.url, pki.files("service", "registry").client_context(), "_INBOX_registry")


def _read(server: NatsServer, pki: Pki, after: int, until: int) -> list[Change]:
    batches = _reader(server, pki).read(STREAM, PREFIX, after=after, until=until)
    return [change for batch in batches for change in batch]


async def test_all_is_read_in_order_whatever_its_size(
    client: Client, writer: KvWriter, fresh_nats: NatsServer, pki: Pki
) -> None:
    rng = random.Random(7)
    sizes = [0, 1, 2, 16_383, 16_384, 100_000] + [rng.randrange(300) for _ in range(3 * PULL_MESSAGES)]
    expected = [(f"key-{number}", rng.randbytes(size)) for number, size in enumerate(sizes)]
    for begin in range(0, len(expected), 500):
        await writer.create(expected[begin : begin + 500])
    found = await asyncio.to_thread(_read, fresh_nats, pki, 0, len(expected))
    assert [(change.key, change.data) for change in found] == expected
    assert [change.sequence for change in found] == list(range(1, len(expected) + 1))
    assert not any(change.deleted for change in found)
    for after, until in (
        (0, 1),
        (5, 6),
        (PULL_MESSAGES - 1, 2 * PULL_MESSAGES + 1),
        (len(expected) - 1, len(expected)),
        (9, 9),
    ):
        part = await asyncio.to_thread(_read, fresh_nats, pki, after, until)
        assert [change.sequence for change in part] == list(range(after + 1, until + 1))


async def test_deletions_and_writes_are_distinguished(client: Client, fresh_nats: NatsServer, pki: Pki) -> None:
    js = chassis_nats.jetstream(client)
    bucket = kv.Bucket.bind(js, buckets.DEVICES)
    await bucket.put("a", b"KV-Operation: DEL")  # not special in a value
    await bucket.create_key("b", b"x")
    await bucket.delete("a")
    await js.publish(f"{PREFIX}c", b"", headers={"Nats-Marker-Reason": "MaxAge"})
    found = await asyncio.to_thread(_read, fresh_nats, pki, 0, 4)
    assert [(change.key, change.deleted) for change in found] == [("a", False), ("b", False), ("a", True), ("c", True)]


async def test_missing_messages_are_left_out(
    client: Client, writer: KvWriter, fresh_nats: NatsServer, pki: Pki
) -> None:
    js = chassis_nats.jetstream(client)
    await writer.create([(f"k-{number}", b"v") for number in range(10)])
    for sequence in (1, 5, 10):
        await js.purge_stream(STREAM, subject=f"{PREFIX}k-{sequence - 1}")
    found = await asyncio.to_thread(_read, fresh_nats, pki, 0, 10)
    assert [change.sequence for change in found] == [2, 3, 4, 6, 7, 8, 9]
    await js.purge_stream(STREAM)
    assert await asyncio.to_thread(_read, fresh_nats, pki, 0, 10) == []


async def test_one_reader_reads_two_streams_during_writes(
    client: Client, writer: KvWriter, fresh_nats: NatsServer, pki: Pki
) -> None:
    """Late messages of the first stream are not taken for messages of the second."""
    groups = KvWriter(client, buckets.GROUPS)
    await groups.open()
    await kv.Bucket.create(chassis_nats.jetstream(client), buckets.GROUPS)
    expected = 3 * PULL_MESSAGES
    for begin in range(0, expected, 512):
        await writer.create([(f"d-{begin + n}", b"device") for n in range(512)])
        await groups.create([(f"g-{begin + n}", b"group") for n in range(512)])

    def read() -> list[int]:
        reader, counts = _reader(fresh_nats, pki), []
        for spec in (buckets.DEVICES, buckets.GROUPS, buckets.DEVICES):
            found = [c for b in reader.read(spec.stream, spec.subject(""), after=0, until=expected) for c in b]
            assert {change.key[:2] for change in found} == {f"{spec.name[0]}-"}
            counts.append(len(found))
        return counts

    reading = asyncio.ensure_future(asyncio.to_thread(read))
    number = 0
    while not reading.done():
        number += 1
        await writer.create([(f"d-late-{number}", b"late")])
        await groups.create([(f"g-late-{number}", b"late")])
    assert await reading == [expected] * 3


async def test_killed_server_is_reported_as_unavailable(
    client: Client, writer: KvWriter, fresh_nats: NatsServer, pki: Pki
) -> None:
    for begin in range(0, 4 * PULL_MESSAGES, 1024):
        await writer.create([(f"k-{begin + number}", bytes(4096)) for number in range(1024)])

    def read() -> int:
        seen = 0
        for batch in _reader(fresh_nats, pki).read(STREAM, PREFIX, after=0, until=4 * PULL_MESSAGES):
            seen += len(batch)
            fresh_nats.kill()
        return seen

    with pytest.raises(StoreUnavailableError, match="could not be read completely"):
        await asyncio.to_thread(read)
    with pytest.raises(StoreUnavailableError, match="refused"):
        await asyncio.to_thread(_read, fresh_nats, pki, 0, 1)


async def test_missing_stream_is_reported(client: Client, fresh_nats: NatsServer, pki: Pki) -> None:
    def read() -> None:
        list(_reader(fresh_nats, pki).read("KV_contracts", "$KV.contracts.", after=0, until=1))

    with pytest.raises(StoreUnavailableError, match="stream not found"):
        await asyncio.to_thread(read)


def test_server_that_is_not_nats_is_reported(pki: Pki) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            accepted, _ = listening.accept()
            with accepted:
                accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        context = pki.files("service", "registry").client_context()
        reader = StreamReader(f"tls://127.0.0.1:{listening.getsockname()[1]}", context, "_INBOX_registry")
        with pytest.raises(StoreUnavailableError, match="not a NATS server"):
            next(reader.read(STREAM, PREFIX, after=0, until=1))
        thread.join()


async def test_each_key_of_many_gets_its_own_answer(client: Client, writer: KvWriter) -> None:
    first = await writer.create([("a", b"1"), ("b", b"2"), ("a", b"3")])
    assert first[:2] == [1, 2]
    assert isinstance(first[2], RevisionConflictError)
    second = await writer.create([("b", b"4"), ("c", b"5"), ("d", bytes(300 * 1024))])
    assert isinstance(second[0], RevisionConflictError)
    assert second[1] == 3
    assert isinstance(second[2], TooLargeError)  # above the limit of the bucket
    bucket = kv.Bucket.bind(chassis_nats.jetstream(client), buckets.DEVICES)
    assert [entry.value for key in "abc" if (entry := await bucket.get(key))] == [b"1", b"2", b"5"]
    assert await writer.create([]) == []


async def test_concurrent_batches_get_their_own_responses(writer: KvWriter) -> None:
    answers = await asyncio.gather(*(writer.create([(f"k-{b}-{n}", b"") for n in range(100)]) for b in range(30)))
    sequences = [answer for batch in answers for answer in batch]
    assert sorted(sequences, key=str) == sorted(range(1, 3001), key=str)


async def test_unanswered_request_is_reported_as_unavailable(
    writer: KvWriter, fresh_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.kv_writer.REQUEST_TIMEOUT_S", 0.5)
    fresh_nats.kill()
    answers = await writer.create([("a", b"1"), ("b", b"2")])
    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 2
