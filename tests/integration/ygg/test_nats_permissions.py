"""The generated configuration under a real nats-server: authentication and permissions."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import nats
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.js.api import KeyValueConfig, StreamConfig

from services.chassis import buckets
from services.chassis.identity import IdentityFiles
from services.chassis.nats import flush_all, jetstream
from services.domain.subjects import ALL_DEVICES, EVENT_STREAM, Kind, bridge, device
from tests.fixtures.nats import Connect, NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually
from ygg.mesh.grants import GRANTS

SHORT_S = 0.6


async def attempt(server: NatsServer, files: IdentityFiles) -> Client:
    """Connect once, without the chassis."""

    async def ignore(_: Exception) -> None:
        """Ignore an error that is also raised."""

    return await nats.connect(
        server.url, tls=files.client_context(), allow_reconnect=False, connect_timeout=3, error_cb=ignore
    )


async def refused(server: NatsServer, files: IdentityFiles) -> bool:
    try:
        client = await attempt(server, files)
    except (nats.errors.Error, ssl.SSLError, OSError):
        return True
    # In TLS 1.3 the refusal of a client certificate arrives with the first read.
    try:
        await client.flush(timeout=2)
    except (nats.errors.Error, OSError):
        return True
    finally:
        await client.close()
    return False


async def forbidden(act: Callable[[], Awaitable[object]]) -> bool:
    """Return whether a request times out: JetStream does not answer a client without permission."""
    try:
        await asyncio.wait_for(act(), SHORT_S)
    except (TimeoutError, nats.errors.TimeoutError, nats.errors.NoRespondersError):
        return True
    return False


@pytest.mark.parametrize("service", GRANTS)
async def test_each_service_gets_in_as_itself(nats_server: NatsServer, connect_nats: Connect, service: str) -> None:
    client = await connect_nats(service)
    info = await jetstream(client).account_info()
    assert info.streams >= 0


@pytest.mark.parametrize(("kind", "name"), [("device", "porch-1"), ("user", "operator"), ("service", "seaweedfs")])
async def test_unknown_nats_client_is_refused(nats_server: NatsServer, pki: Pki, kind: str, name: str) -> None:
    assert await refused(nats_server, pki.files(kind, name))


async def test_the_same_name_from_another_pki_is_refused(nats_server: NatsServer, pki: Pki, other_pki: Pki) -> None:
    stranger = other_pki.directory("service", "registry")
    (stranger / "services.pem").write_bytes(pki.files("service", "nats").read("services.pem"))
    assert await refused(nats_server, IdentityFiles(stranger))


async def test_an_expired_certificate_is_refused(nats_server: NatsServer, pki: Pki) -> None:
    assert await refused(nats_server, pki.expired("service", "registry"))


async def test_no_certificate_is_refused(nats_server: NatsServer, pki: Pki) -> None:
    context = ssl.create_default_context(cafile=str(pki.directory("service", "nats") / "services.pem"))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with pytest.raises((nats.errors.Error, ssl.SSLError, OSError)):
        await nats.connect(nats_server.url, tls=context, allow_reconnect=False, connect_timeout=3)


async def test_the_registry_can_all_that_a_bucket_needs(connect_nats: Connect) -> None:
    js = jetstream(await connect_nats("registry"))
    bucket = await js.create_key_value(KeyValueConfig(bucket=buckets.DEVICES.name, history=8, direct=True))
    revision = await bucket.create("a", b"1")
    await bucket.update("a", b"2", revision)
    assert (await bucket.get("a")).value == b"2"
    assert await bucket.keys() == ["a"]
    assert [entry.value for entry in await bucket.history("a")] == [b"1", b"2"]
    watcher = await bucket.watchall()
    assert (await watcher.updates(timeout=2)).key == "a"  # type: ignore[no-untyped-call]
    await watcher.stop()  # type: ignore[no-untyped-call]
    await bucket.delete("a")
    await bucket.purge("a")
    await bucket.purge_deletes()


async def test_loki_has_no_access_to_buckets_of_registry(connect_nats: Connect, nats_server: NatsServer) -> None:
    registry = jetstream(await connect_nats("registry"))
    bucket = await registry.create_key_value(KeyValueConfig(bucket=buckets.CONTRACTS.name, direct=True))
    await bucket.put("porch-1", b"contract")
    client = await connect_nats("loki")
    loki = jetstream(client)
    stream = buckets.CONTRACTS.stream
    assert await forbidden(lambda: loki.publish(buckets.CONTRACTS.subject("porch-1"), b"forged"))
    assert await forbidden(lambda: loki.get_msg(stream, 1))
    assert await forbidden(lambda: loki.purge_stream(stream))
    assert await forbidden(lambda: loki.delete_stream(stream))
    assert await forbidden(lambda: loki.stream_info(stream))
    assert await forbidden(lambda: loki.add_consumer(stream))
    assert (await bucket.get("porch-1")).value == b"contract"
    log = nats_server.log()
    assert 'ygg://main/service/loki" - Publish Violation - Subject "$KV.contracts.porch-1"' in log


async def test_the_owner_cannot_delete_its_stream_either(connect_nats: Connect) -> None:
    js = jetstream(await connect_nats("registry"))
    await js.create_key_value(KeyValueConfig(bucket=buckets.DOCUMENTS.name, direct=True))
    assert await forbidden(lambda: js.delete_stream(buckets.DOCUMENTS.stream))


async def test_the_registry_reads_leases_and_cannot_write_them(connect_nats: Connect) -> None:
    owner = jetstream(await connect_nats("jotunheim_bridge"))
    leases = await owner.create_key_value(KeyValueConfig(bucket=buckets.BRIDGES.name, direct=True))
    await leases.put("b1", b"alive")
    registry = jetstream(await connect_nats("registry"))
    seen = await registry.key_value(buckets.BRIDGES.name)
    assert (await seen.get("b1")).value == b"alive"
    assert await forbidden(lambda: registry.publish(buckets.BRIDGES.subject("b1"), b"forged"))
    assert (await leases.get("b1")).value == b"alive"


async def test_a_consumer_of_the_event_stream_can_pull_and_acknowledge(connect_nats: Connect) -> None:
    js = jetstream(await connect_nats("jotunheim_bridge"))
    await js.add_stream(StreamConfig(name=EVENT_STREAM, subjects=[ALL_DEVICES]))
    await js.publish(device("porch-1", Kind.ONLINE), b"")
    subscription = await js.pull_subscribe("ygg.v1.main.device.>", durable="reader", stream=EVENT_STREAM)
    (message,) = await subscription.fetch(1, timeout=2)
    await message.ack_sync(timeout=2)
    assert (await subscription.consumer_info()).num_ack_pending == 0
    registry = jetstream(await connect_nats("registry"))
    reader = await registry.pull_subscribe("ygg.v1.main.device.>", stream=EVENT_STREAM)
    assert len(await reader.fetch(1, timeout=2)) == 1


async def test_the_object_store_of_images_works_for_ota_alone(connect_nats: Connect) -> None:
    ota = jetstream(await connect_nats("ota"))
    store = await ota.create_object_store("images")
    await store.put("one", b"x" * 300_000)
    assert len((await store.get("one")).data or b"") == 300_000
    await store.delete("one")
    loki = jetstream(await connect_nats("loki"))
    assert await forbidden(lambda: loki.object_store("images"))


async def test_loki_receives_device_events_but_no_bridge_requests(connect_nats: Connect) -> None:
    loki, sender = await connect_nats("loki"), await connect_nats("jotunheim_bridge")
    heard: list[str] = []

    async def on_message(message: object) -> None:
        heard.append(getattr(message, "subject", ""))

    await loki.subscribe("ygg.v1.main.>", cb=on_message)
    for wrong in ("ygg.v1.bridge.>", "ygg.>", "_INBOX_registry.>"):
        await loki.subscribe(wrong, cb=on_message)
    await flush_all(loki)
    await sender.publish(bridge("b1", "invoke"), b"secret")
    await sender.publish(device("porch-1", Kind.ONLINE), b"")
    await flush_all(sender)
    await eventually(lambda: heard)
    assert heard == [device("porch-1", Kind.ONLINE)]
