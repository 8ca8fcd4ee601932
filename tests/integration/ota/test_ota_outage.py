"""ota during a NATS outage: calls fail with UNAVAILABLE, no partial writes appear, and it recovers automatically."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import grpc.aio
import pytest

from services.chassis import channel
from tests.fixtures.images import image_bytes
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import StartService
from tests.fixtures.wait import eventually
from yggdrasil.ota.v1 import ota_pb2 as pb
from yggdrasil.ota.v1 import ota_pb2_grpc

MIB = 1024 * 1024


async def test_an_outage_of_nats_in_the_middle_of_an_upload(
    start_service: StartService, fresh_nats: NatsServer, pki: Pki, tmp_path: Path
) -> None:
    ota = start_service("ota", nats_url=fresh_nats.url, data_dir=tmp_path / "data")
    data, half, go = image_bytes(8 * MIB), asyncio.Event(), asyncio.Event()
    digest = hashlib.sha256(data).hexdigest()

    async def upload(pause: bool) -> AsyncIterator[pb.UploadImageRequest]:
        yield pb.UploadImageRequest(header=pb.ImageHeader(size_bytes=len(data), sha256=digest))
        for start in range(0, len(data), MIB):
            if pause and start == 4 * MIB:
                half.set()
                await go.wait()
            yield pb.UploadImageRequest(chunk=data[start : start + MIB])

    async with channel.connect(ota.listen, pki.files("user", "operator"), "ota") as connected:
        stub = ota_pb2_grpc.OtaServiceStub(connected)
        broken = asyncio.create_task(_status(stub.UploadImage(upload(pause=True))))
        await half.wait()
        fresh_nats.kill()
        go.set()
        assert await broken is grpc.StatusCode.UNAVAILABLE
        assert await _status(stub.GetImage(pb.GetImageRequest(sha256=digest))) is grpc.StatusCode.UNAVAILABLE
        fresh_nats.start()

        async def answers() -> bool:
            return await _status(stub.GetImage(pb.GetImageRequest(sha256=digest))) is grpc.StatusCode.NOT_FOUND

        await eventually(answers, within_s=5, what="ota to answer again")
        assert not (await stub.ListImages(pb.ListImagesRequest())).images
        await stub.UploadImage(upload(pause=False), timeout=30)
        request = pb.DownloadImageRequest(sha256=digest)
        assert b"".join([answer.chunk async for answer in stub.DownloadImage(request)]) == data


async def _status(call: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await call
    return e.value.code()
