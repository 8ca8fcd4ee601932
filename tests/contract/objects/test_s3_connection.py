"""The connection to S3: TLS with certificate and host checks, access keys, and an unreachable server."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.ota.adapters import s3_client
from services.ota.adapters.s3_client import S3Settings
from services.ota.adapters.s3_objects import S3Objects
from services.ota.errors import ObjectStoreError, ObjectStoreRefusedError
from tests.fixtures.images import chunked, header_of, image_bytes
from tests.fixtures.pki import Pki
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.wait import free_ports


@pytest.fixture
def where(seaweed: Seaweed) -> S3Settings:
    return S3Settings(
        seaweed.url, "connection", "us-east-1", seaweed.access_key_file, seaweed.secret_key_file, seaweed.ca_file
    )


async def look(settings: S3Settings) -> None:
    async with s3_client.connect(settings) as client:
        await s3_client.ensure_bucket(client, settings.bucket)
        await S3Objects(client, settings.bucket).list("", 1)


async def test_s3_trusts_configured_ca(where: S3Settings) -> None:
    await look(where)
    await look(where)  # the bucket exists now


async def test_s3_uses_plain_http_when_configured(where: S3Settings, seaweed: Seaweed) -> None:
    await look(replace(where, endpoint_url=seaweed.plain_url, ca_file=None))


async def test_s3_rejects_another_ca(where: S3Settings, other_pki: Pki) -> None:
    with pytest.raises(ObjectStoreError):
        await look(replace(where, ca_file=other_pki.directory("service", "ota") / "services.pem"))


async def test_s3_ignores_system_cas(where: S3Settings) -> None:
    with pytest.raises(ObjectStoreError):
        await look(replace(where, ca_file=None))


async def forwarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer))


async def test_s3_rejects_certificate_of_another_host(where: S3Settings, seaweed: Seaweed) -> None:
    """The right server and certificate, at an address that the certificate does not contain."""
    port = urlsplit(seaweed.url).port or 0
    relay = await asyncio.start_server(lambda r, w: forwarded(r, w, port), "127.0.0.2", 0)
    async with relay:
        url = f"https://127.0.0.2:{relay.sockets[0].getsockname()[1]}"
        with pytest.raises(ObjectStoreError, match="IP address mismatch"):
            await look(replace(where, endpoint_url=url))


@pytest.mark.parametrize("which", ["access_key_file", "secret_key_file"])
async def test_s3_rejects_wrong_keys(where: S3Settings, tmp_path: Path, which: str) -> None:
    (tmp_path / "key").write_text("wrong")
    changed: dict[str, Any] = {which: tmp_path / "key"}
    with pytest.raises(ObjectStoreRefusedError):
        await look(replace(where, **changed))


@pytest.mark.parametrize("content", [None, "", "\n"])
async def test_s3_rejects_missing_or_empty_key_file(where: S3Settings, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(ObjectStoreRefusedError, match="key"):
        await look(replace(where, access_key_file=tmp_path / "key"))


async def test_s3_is_unavailable_when_unreachable(where: S3Settings) -> None:
    async with s3_client.connect(replace(where, endpoint_url=f"https://127.0.0.1:{free_ports(1)[0]}")) as client:
        store, data = S3Objects(client, where.bucket), image_bytes(10)
        with pytest.raises(ObjectStoreError):
            await store.list("", 1)
        with pytest.raises(ObjectStoreError):
            await store.put_stream(header_of(data), chunked(data))
