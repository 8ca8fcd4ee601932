"""OtaService: converts messages to use cases. Owns the message order of an upload and its timeouts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from services.chassis import codec
from services.domain.errors import YggError
from services.ota.errors import InvalidUploadError, UploadStalledError
from services.ota.model import Header, Image, check_chunk
from services.ota.model.parts import Plan, plan
from services.ota.service import Images
from services.ota.service.parts import Uploads
from yggdrasil.ota.v1 import ota_pb2 as pb
from yggdrasil.ota.v1 import ota_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["OtaService"].full_name
UPLOAD_DEADLINE_S = 900.0
"""Maximum duration of an upload, in seconds."""
IDLE_TIMEOUT_S = 30.0
"""Maximum delay between two messages of an upload, in seconds."""
DRAIN_TIMEOUT_S = 5.0
"""How long a failed upload is drained, in seconds."""


def image_to_proto(image: Image) -> pb.Image:
    """Return the message of an image."""
    return pb.Image(sha256=image.sha256, size_bytes=image.size_bytes, create_time=codec.timestamp(image.create_time))


def _plan(header: pb.ImageHeader) -> Plan:
    return plan(Header(header.sha256, header.size_bytes), header.part_sha256)


class Upload:
    """The messages of one upload: a header, then chunks or parts, each within `idle_s` seconds."""

    def __init__(self, messages: AsyncIterator[pb.UploadImageRequest], idle_s: float = IDLE_TIMEOUT_S) -> None:
        self._messages = messages
        self._idle_s = idle_s

    async def header(self) -> pb.ImageHeader:
        """Return the first message; raises InvalidUploadError if it is not a header, UploadStalledError."""
        message = await self._next()
        if message is None or message.WhichOneof("payload") != "header":
            raise InvalidUploadError(
                "the first message of an upload must be its header", hint="Send size_bytes and sha256 first."
            )
        return message.header

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the chunks; raises InvalidUploadError, UploadStalledError."""
        while (message := await self._next()) is not None:
            if message.WhichOneof("payload") != "chunk":
                raise InvalidUploadError(
                    "chunks only are allowed after a header without parts",
                    hint="To send parts, list their digests in the header.",
                )
            yield check_chunk(message.chunk)

    async def parts(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield index and bytes of the parts; raises InvalidUploadError, UploadStalledError."""
        while (message := await self._next()) is not None:
            if message.WhichOneof("payload") != "part":
                raise InvalidUploadError("parts only are allowed after a header that lists parts")
            yield message.part.index, message.part.data

    async def drain(self, within_s: float = DRAIN_TIMEOUT_S) -> None:
        """Read and drop the remaining messages, for at most `within_s` seconds.

        A grpc.aio client that is still sending when its call fails gets INTERNAL instead of the actual error.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while await anext(self._messages, None) is not None:
                    pass

    async def _next(self) -> pb.UploadImageRequest | None:
        try:
            async with asyncio.timeout(self._idle_s):
                return await anext(self._messages, None)
        except TimeoutError as e:
            raise UploadStalledError(self._idle_s) from e


class OtaApi(ota_pb2_grpc.OtaServiceServicer):
    """The servicer."""

    def __init__(self, images: Images, uploads: Uploads) -> None:
        self._images, self._uploads = images, uploads

    async def UploadImage(
        self, request_iterator: AsyncIterator[pb.UploadImageRequest], context: Any
    ) -> pb.UploadImageResponse:
        """Store an image."""
        upload = Upload(aiter(request_iterator))
        try:
            async with asyncio.timeout(UPLOAD_DEADLINE_S):
                image = await self._store(upload, await upload.header())
        except YggError:
            await upload.drain()
            raise
        return pb.UploadImageResponse(image=image_to_proto(image))

    async def _store(self, upload: Upload, header: pb.ImageHeader) -> Image:
        if header.part_sha256:
            async with contextlib.aclosing(upload.parts()) as parts:
                return await self._uploads.upload(_plan(header), parts)
        async with contextlib.aclosing(upload.chunks()) as chunks:
            return await self._images.upload(Header(header.sha256, header.size_bytes), chunks)

    async def GetUpload(self, request: pb.GetUploadRequest, context: Any) -> pb.GetUploadResponse:
        """Return the missing parts of an image."""
        image, missing = await self._uploads.status(_plan(request.header))
        return pb.GetUploadResponse(image=image_to_proto(image) if image else None, missing_parts=missing)

    async def DownloadImage(
        self, request: pb.DownloadImageRequest, context: Any
    ) -> AsyncGenerator[pb.DownloadImageResponse, None]:
        """Stream an image; gRPC's flow control paces the reads."""
        found = self._images.download(request.sha256, request.offset_bytes, request.length_bytes)
        async with contextlib.aclosing(found) as pieces:
            async for piece in pieces:
                yield pb.DownloadImageResponse(chunk=piece)

    async def GetImage(self, request: pb.GetImageRequest, context: Any) -> pb.GetImageResponse:
        """Return the metadata of an image."""
        return pb.GetImageResponse(image=image_to_proto(await self._images.get(request.sha256)))

    async def ListImages(self, request: pb.ListImagesRequest, context: Any) -> pb.ListImagesResponse:
        """Return a page of images."""
        images, token = await self._images.page(request.page_size, request.page_token)
        return pb.ListImagesResponse(images=[image_to_proto(i) for i in images], next_page_token=token)

    async def DeleteImage(self, request: pb.DeleteImageRequest, context: Any) -> pb.DeleteImageResponse:
        """Delete an image."""
        await self._images.delete(request.sha256)
        return pb.DeleteImageResponse()
