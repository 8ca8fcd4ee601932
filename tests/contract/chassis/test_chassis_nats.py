"""The connection to NATS and key-value buckets, against a real nats-server that tests kill."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry import trace

from services.chassis import nats as chassis_nats
from services.chassis import telemetry
from services.chassis.errors import RevisionConflictError, StoreUnavailableError, TooLargeError
from services.chassis.kv import Bucket, BucketSpec
from services.chassis.nats import flush_all
from services.domain.errors import Code, InvalidIdError
from tests.fixtures.nats import Connect, NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually

DEVICES = BucketSpec("devices", history=3)


@pytest.fixture
async def bucket(connect_nats: Connect) -> AsyncIterator[Bucket]:
    """An empty bucket of the registry."""
    js = chassis_nats.jetstream(await connect_nats("registry"))
    made = await Bucket.create(js, DEVICES)
    await js.purge_stream(DEVICES.stream)
    yield made


async def test_create_key_conflicts_when_key_exists(bucket: Bucket) -> None:
    revision = await bucket.create_key("porch-1", b"one")
    with pytest.raises(RevisionConflictError) as e:
        await bucket.create_key("porch-1", b"two")
    assert e.value.code is Code.ABORTED
    entry = await bucket.get("porch-1")
    assert entry is not None
    assert (entry.key, entry.value, entry.revision) == ("porch-1", b"one", revision)


async def test_update_conflicts_when_revision_is_stale(bucket: Bucket) -> None:
    first = await bucket.create_key("porch-1", b"one")
    second = await bucket.update("porch-1", b"two", first)
    assert second > first
    for stale in (first, second + 1, 0):
        with pytest.raises(RevisionConflictError):
            await bucket.update("porch-1", b"lost", stale)
    entry = await bucket.get("porch-1")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"two", second)


async def test_update_loses_no_concurrent_write(bucket: Bucket, connect_nats: Connect) -> None:
    other = await Bucket.create(chassis_nats.jetstream(await connect_nats("registry")), DEVICES)
    await bucket.create_key("count", b"0")
    conflicts = 0

    async def increment(through: Bucket) -> None:
        nonlocal conflicts
        while True:
            entry = await through.get("count")
            assert entry is not None
            with contextlib.suppress(RevisionConflictError):
                await through.update("count", str(int(entry.value) + 1).encode(), entry.revision)
                return
            conflicts += 1

    await asyncio.gather(*(increment(through) for _ in range(10) for through in (bucket, other)))
    entry = await bucket.get("count")
    assert entry is not None
    assert entry.value == b"20"
    assert conflicts > 0


async def test_deleted_key_can_be_created_again(bucket: Bucket) -> None:
    assert await bucket.get("porch-1") is None
    revision = await bucket.put("porch-1", b"")
    entry = await bucket.get("porch-1")
    assert entry is not None
    assert entry.value == b""
    await bucket.delete("porch-1")
    assert await bucket.get("porch-1") is None
    assert await bucket.keys() == []
    with pytest.raises(RevisionConflictError):
        await bucket.update("porch-1", b"back from the dead", revision)
    assert await bucket.create_key("porch-1", b"again") > revision
    assert await bucket.keys() == ["porch-1"]


async def test_bucket_create_keeps_existing_keys(bucket: Bucket, connect_nats: Connect) -> None:
    await bucket.put("porch-1", b"kept")
    reopened = await Bucket.create(chassis_nats.jetstream(await connect_nats("registry")), DEVICES)
    entry = await reopened.get("porch-1")
    assert entry is not None
    assert entry.value == b"kept"


async def test_get_is_unavailable_when_bucket_is_missing(connect_nats: Connect) -> None:
    js = chassis_nats.jetstream(await connect_nats("registry"))
    with pytest.raises(StoreUnavailableError):
        await Bucket.bind(js, BucketSpec("bridges")).get("x")


async def test_acknowledged_writes_survive_server_kill(connect_fresh_nats: Connect, fresh_nats: NatsServer) -> None:
    bucket = await Bucket.create(chassis_nats.jetstream(await connect_fresh_nats("registry")), DEVICES)
    revisions = {f"d{n}": await bucket.put(f"d{n}", str(n).encode()) for n in range(50)}
    fresh_nats.kill()
    fresh_nats.start()

    async def all_there() -> bool:
        with contextlib.suppress(StoreUnavailableError):
            entries = [await bucket.get(key) for key in revisions]
            assert {e.key: e.revision for e in entries if e} == revisions
            return True
        return False

    await eventually(all_there, within_s=15)
    assert await bucket.update("d1", b"new", revisions["d1"]) == 51


async def test_bucket_fails_fast_and_recovers_when_nats_is_down(
    fresh_nats: NatsServer, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_nats, "REQUEST_TIMEOUT_S", 0.5)
    async with chassis_nats.connect(fresh_nats.url, pki.files("service", "registry"), "registry") as connection:
        bucket = await Bucket.create(chassis_nats.jetstream(connection.client), DEVICES)
        before = connection.connected_s()
        assert before > 0
        fresh_nats.kill()
        killed_s = time.monotonic()
        await eventually(lambda: connection.connected_s() == 0)
        for attempt in (bucket.get("a"), bucket.put("a", b""), bucket.create_key("a", b""), bucket.delete("a")):
            async with asyncio.timeout(3):
                with pytest.raises(StoreUnavailableError) as e:
                    await attempt
            assert e.value.code is Code.UNAVAILABLE
        fresh_nats.start()
        await eventually(lambda: connection.connected_s() > 0, within_s=3)
        assert await bucket.put("a", b"1") > 0
        since_kill_s = time.monotonic() - killed_s
        assert connection.connected_s() < since_kill_s


async def test_connected_time_starts_again_with_the_reported_reconnect(
    fresh_nats: NatsServer, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that nats-py says that it is connected; counted from before the outage, the reaper would end sessions."""
    async with chassis_nats.connect(fresh_nats.url, pki.files("service", "registry"), "registry") as connection:
        assert connection.connected_s() > 0
        fresh_nats.kill()
        await eventually(lambda: connection.connected_s() == 0)
        await eventually(lambda: not connection.client.is_connected)
        with monkeypatch.context() as patch:
            patch.setattr(chassis_nats.CheckedClient, "is_connected", True)
            assert connection.connected_s() == 0


async def test_connect_waits_until_server_is_up(fresh_nats: NatsServer, pki: Pki) -> None:
    fresh_nats.stop()

    async def connected() -> str:
        async with chassis_nats.connect(fresh_nats.url, pki.files("service", "loki"), "loki") as connection:
            return str(connection.client.connected_url)

    waiting = asyncio.create_task(connected())
    done, _ = await asyncio.wait([waiting], timeout=1)
    assert not done
    fresh_nats.start()
    assert await asyncio.wait_for(waiting, 5)


async def test_outage_logs_few_lines(
    fresh_nats: NatsServer, pki: Pki, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_nats, "RECONNECT_WAIT_S", 0.01)
    async with chassis_nats.connect(fresh_nats.url, pki.files("service", "loki"), "loki") as connection:
        fresh_nats.kill()
        attempts = 0

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal attempts
            attempts += 1
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", urlsplit(fresh_nats.url).port):
            await eventually(lambda: attempts >= 20)
        lines = [record for record in caplog.records if record.name == chassis_nats.__name__]
        assert 2 <= len(lines) <= 6
        fresh_nats.start()
        await eventually(lambda: connection.connected_s() > 0, within_s=5)


async def test_nats_rejects_foreign_certificates(nats_server: NatsServer, pki: Pki, other_pki: Pki) -> None:
    foreign = [
        pki.files("user", "operator"),
        pki.files("device", "porch-1"),
        pki.files("service", "seaweedfs"),
        pki.expired("service", "registry"),
        other_pki.files("service", "registry"),
    ]
    for files in foreign:
        context = pki.files(
            "service", "registry"
        ).client_context()  # trusts the server, regardless of the client's identity
        context.load_cert_chain(files.directory / "cert.pem", files.directory / "key.pem")
        with pytest.raises((nats.errors.Error, OSError, TimeoutError)):
            await nats.connect(nats_server.url, tls=context, allow_reconnect=False, connect_timeout=2)


async def test_client_rejects_nats_of_another_mesh(nats_server: NatsServer, other_pki: Pki) -> None:
    context = other_pki.files("service", "registry").client_context()
    with pytest.raises((nats.errors.Error, OSError, TimeoutError)):
        await nats.connect(nats_server.url, tls=context, allow_reconnect=False, connect_timeout=2)


async def test_flushed_subscription_misses_no_message(connect_nats: Connect) -> None:
    """About one in fifty of nats-py's own flushes completed before the subscription was sent."""
    bridge, loki = await connect_nats("jotunheim_bridge"), await connect_nats("loki")
    for number in range(600):
        subscription = await loki.subscribe(f"ygg.v1.main.device.d-{number}.>")
        await flush_all(loki)
        await bridge.publish(f"ygg.v1.main.device.d-{number}.telemetry.temp0", b"")
        await bridge.flush()
        await subscription.next_msg(timeout=5)


async def test_trace_propagates_through_nats(connect_nats: Connect) -> None:
    telemetry.configure("test", "replica-1", "0")
    bridge, loki = await connect_nats("jotunheim_bridge"), await connect_nats("loki")
    received: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def on_message(message: Msg) -> None:
        received.set_result(message)

    await loki.subscribe("ygg.v1.main.device.>", cb=on_message)
    await flush_all(loki)
    with telemetry.tracer().start_as_current_span("send") as span:
        await bridge.publish("ygg.v1.main.device.porch-1.telemetry.temp0", b"", headers=telemetry.inject())
    message = await asyncio.wait_for(received, 5)
    there = trace.get_current_span(telemetry.extract(message.headers)).get_span_context()
    assert there.trace_id == span.get_span_context().trace_id


@pytest.mark.parametrize("key", ["x" * 5000, "a b", "*", ">", "a..b", ".a", "a.", "", "ä", "a\r\nPUB x 0", "a\n"])
async def test_bucket_rejects_invalid_key_before_sending(bucket: Bucket, key: str, connect_nats: Connect) -> None:
    calls = (
        lambda: bucket.get(key),
        lambda: bucket.put(key, b""),
        lambda: bucket.create_key(key, b""),
        lambda: bucket.update(key, b"", 1),
        lambda: bucket.delete(key),
    )
    for made in calls:
        with pytest.raises(InvalidIdError):
            await made()
    assert await bucket.put("good", b"1")


@pytest.mark.parametrize("subject", ["a." + "x" * 5000, "a b", "a\r\nb", "ä", ""])
async def test_publish_rejects_invalid_subject_before_sending(connect_nats: Connect, subject: str) -> None:
    client = await connect_nats("registry")
    for made in (lambda: client.publish(subject), lambda: client.request(subject), lambda: client.subscribe(subject)):
        with pytest.raises(InvalidIdError):
            await made()
    await client.flush()
    assert client.is_connected


async def test_publish_rejects_oversized_message_with_limit(connect_nats: Connect) -> None:
    client = await connect_nats("registry")
    limit = client.max_payload
    for payload, headers in ((bytes(limit + 1), None), (bytes(limit), {"a": "b"}), (b"", {"a": "b" * limit})):
        with pytest.raises(TooLargeError) as e:
            await client.publish("_INBOX_registry.x", payload, headers=headers)
        assert str(limit) in e.value.message
    fits = {"a": "b" * 100}
    await client.publish("_INBOX_registry.x", bytes(limit - chassis_nats._headers_bytes(fits)), headers=fits)
    await client.flush()
    assert client.is_connected


async def test_put_rejects_oversized_record_with_limit(bucket: Bucket) -> None:
    limit = bucket.spec.max_value_bytes
    for write in (bucket.put, bucket.create_key):
        with pytest.raises(TooLargeError) as e:
            await write("large", bytes(limit + 1))
        assert e.value.code is Code.INVALID_ARGUMENT
        assert str(limit) in e.value.message
    assert await bucket.put("large", bytes(limit - 100))


async def test_closed_connection_is_reported(fresh_nats: NatsServer, pki: Pki) -> None:
    async with chassis_nats.connect(fresh_nats.url, pki.files("service", "registry"), "registry") as connection:
        seen: list[bool] = []
        connection.on_change = seen.append
        await Client.publish(connection.client, "x" * 5000)  # bypasses the check
        await asyncio.wait_for(connection.closed.wait(), 10)
        assert "control line" in connection.close_reason.lower()
        assert seen[-1] is False


async def test_flush_keeps_connection_when_cancelled(connect_nats: Connect, caplog: pytest.LogCaptureFixture) -> None:
    client = await connect_nats("registry")
    flushing = [asyncio.ensure_future(client.flush()) for _ in range(20)]
    while len(client._pongs) < len(flushing):  # noqa: ASYNC110 - exactly until each has sent its PING
        await asyncio.sleep(0)
    for one in flushing:
        one.cancel()
    await asyncio.wait(flushing)
    await client.flush()
    assert client.stats["reconnects"] == 0
    assert not [record for record in caplog.records if record.name.startswith("nats")]
