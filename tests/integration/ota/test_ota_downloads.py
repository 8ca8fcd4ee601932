"""`GET /images/<token>` over mutual TLS: one device, one image, one download, a short lifetime."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from services.chassis.clock import SystemClock
from services.domain.access import DeviceAccess
from services.ota.adapters.http import ImageServer
from services.ota.errors import DownloadForbiddenError
from services.ota.model import download as rules
from services.ota.model.download import Download
from services.ota.ports import KnownDevice
from services.ota.service import Images
from services.ota.service.downloads import Downloads
from tests.fakes.objects import MemoryObjects
from tests.fakes.ota_keys import image_of
from tests.fakes.ota_tables import MemoryTable
from tests.fixtures.images import chunked, header_of, image_bytes
from tests.fixtures.mesh import client
from tests.fixtures.pki import Pki
from tests.fixtures.updates import Updates
from tests.fixtures.wait import eventually
from yggdrasil.ota.v1 import release_pb2
from yggdrasil.registry.v1 import enrolment_pb2, enrolment_pb2_grpc, registry_pb2, registry_pb2_grpc


@dataclass
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    headers: Any


def client_context(pki: Pki, kind: str, name: str) -> ssl.SSLContext:
    files = pki.files(kind, name)
    found = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files.directory / "services.pem")
    found.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    found.load_cert_chain(files.directory / "cert.pem", files.directory / "key.pem")
    return found


async def fetch(updates: Updates, path: str, device: str, byte_range: str = "", kind: str = "device") -> Answer:
    url = f"https://localhost:{str(updates.ota[0].ready()['images']).rpartition(':')[2]}{path}"
    headers = {"Range": byte_range} if byte_range else {}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context(updates.pki, kind, device))) as session,
        session.get(url, headers=headers) as answer,
    ):
        return Answer(answer.status, await answer.read(), answer.headers)


async def token(updates: Updates, image: bytes, device: str) -> str:
    await updates.upload(image)
    digest = hashlib.sha256(image).hexdigest()
    made = await updates.releases.CreateDownload(
        release_pb2.CreateDownloadRequest(device_id=device, image_sha256=digest), timeout=10
    )
    assert (made.image_sha256, made.size_bytes) == (digest, len(image))
    return str(made.path)


class NeverRegistered:
    """A registry that knows no device."""

    async def matching(self, selector: str) -> list[KnownDevice]:
        return []

    async def access(self, device_id: str) -> DeviceAccess | None:
        return None


def device_id() -> str:
    return f"dl-{secrets.token_hex(4)}"


async def test_the_whole_image_once_and_then_403(updates: Updates) -> None:
    image, device = image_of(secrets.token_hex(4), 300_000), device_id()
    path = await token(updates, image, device)
    first = await fetch(updates, path, device)
    assert (first.status, first.body) == (200, image)
    digest = hashlib.sha256(image).digest()
    assert first.headers["ETag"] == f'"{digest.hex()}"'
    assert first.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert first.headers["Content-Length"] == "300000"
    assert (await fetch(updates, path, device)).status == 403


async def test_ranges_until_the_last_byte_was_served(updates: Updates) -> None:
    image, device = image_of(secrets.token_hex(4), 1000), device_id()
    path = await token(updates, image, device)
    for _ in range(2):
        part = await fetch(updates, path, device, "bytes=0-499")
        assert (part.status, part.body, part.headers["Content-Range"]) == (206, image[:500], "bytes 0-499/1000")
    assert (await fetch(updates, path, device, "bytes=1000-")).status == 416
    assert (await fetch(updates, path, device, "bytes=500-")).body == image[500:]
    assert (await fetch(updates, path, device, "bytes=0-499")).status == 403


async def test_only_one_concurrent_reader_gets_the_last_byte(updates: Updates) -> None:
    """Decided by compare-and-set of the token's record; the other responses end short of their Content-Length."""
    image, device = image_of(secrets.token_hex(4), 300_000), device_id()
    for _ in range(3):
        path = await token(updates, image, device)
        answers = await asyncio.gather(*(fetch(updates, path, device) for _ in range(6)), return_exceptions=True)
        whole = [each for each in answers if isinstance(each, Answer) and each.status == 200]
        assert [each.body for each in whole] == [image]
        refused = [each for each in answers if isinstance(each, Answer) and each.status == 403]
        cut = [each for each in answers if isinstance(each, aiohttp.ClientPayloadError | aiohttp.ClientOSError)]
        assert len(refused) + len(cut) == 5, answers


async def test_the_token_of_another_device(updates: Updates) -> None:
    image, device = image_of(secrets.token_hex(4), 1000), device_id()
    path = await token(updates, image, device)
    assert (await fetch(updates, path, device_id())).status == 403
    assert (await fetch(updates, path, device)).status == 200


async def test_suspended_or_revoked_device_is_refused(updates: Updates) -> None:
    image, device = image_of(secrets.token_hex(4), 1000), device_id()
    path = await token(updates, image, device)
    async with client(updates.processes.endpoint("registry"), updates.pki) as channel:
        registry: Any = registry_pb2_grpc.RegistryServiceStub(channel)
        enrolment: Any = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        await registry.RegisterDevice(registry_pb2.RegisterDeviceRequest(device_id=device), timeout=10)
        assert (await fetch(updates, path, device, "bytes=0-9")).status == 206
        for state, status in ((registry_pb2.DEVICE_STATE_SUSPENDED, 403), (registry_pb2.DEVICE_STATE_ACTIVE, 206)):
            request = registry_pb2.UpdateDeviceRequest(device_id=device, state=state)
            await registry.UpdateDevice(request, timeout=10)
            assert (await fetch(updates, path, device, "bytes=0-9")).status == status
        revoke = enrolment_pb2.RevokeCertificatesRequest(device_id=device)
        await enrolment.RevokeCertificates(revoke, timeout=10)
    assert (await fetch(updates, path, device, "bytes=0-9")).status == 403


async def test_tokens_that_were_never_given(updates: Updates) -> None:
    for path in ("/images/" + "A" * 43, "/images/short", "/images/..%2f..%2fetc"):
        assert (await fetch(updates, path, device_id())).status == 403


async def test_people_and_services_do_not_get_in(updates: Updates) -> None:
    path = await token(updates, image_of("x", 10), device_id())
    for kind, name in (("user", "operator"), ("service", "loki")):
        with pytest.raises(aiohttp.ClientError):
            await fetch(updates, path, name, kind=kind)


async def test_slow_retrieval_is_cut_off_at_its_deadline(pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    image, clock = image_bytes(32 * 1024 * 1024), [1000.0]
    store, table = MemoryObjects(), MemoryTable[Download]()
    await store.put_stream(header_of(image), chunked(image))
    downloads = Downloads(table, Images(store, 1), store, NeverRegistered(), lambda: clock[0])
    server = ImageServer(downloads, pki.files("service", "ota").server_context("devices.pem"), SystemClock())
    port = int((await server.start("127.0.0.1:0")).rpartition(":")[2])
    try:
        token, _ = await downloads.create("porch-1", hashlib.sha256(image).hexdigest())
        clock[0] += rules.LIFE_S - 1  # one second remains
        tls = client_context(pki, "device", "porch-1")
        reader, writer = await asyncio.open_connection("localhost", port, ssl=tls, limit=1024)
        writer.write(f"GET /images/{token} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await eventually(lambda: "download aborted" in caplog.text, 10, "the reader is given up")
        got = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await asyncio.wait_for(reader.read(1 << 20), 5):
                got += data
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert len(got) < len(image)
        writer.transport.abort()
        assert not table.rows()[0].value.used  # the last byte was never served
    finally:
        await server.stop()


def test_a_token_is_over_after_900_seconds() -> None:
    found = Download("d", "0" * 64, 10, 1000.0 + rules.LIFE_S)
    assert rules.check(found, "d", 1899.9) == found
    with pytest.raises(DownloadForbiddenError):
        rules.check(found, "d", 1900.0)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", (0, 10)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-5", (3, 3)),
        ("bytes=3-99", (3, 7)),
        ("bytes=9-9", (9, 1)),
        ("bytes=10-", None),
        ("bytes=5-4", None),
        ("bytes=-3", (0, 10)),
        ("bytes=0-1,3-4", (0, 10)),
        ("items=0-1", (0, 10)),
    ],
)
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    assert rules.byte_range(header, 10) == expected
