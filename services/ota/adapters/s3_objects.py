"""Images in a bucket of an S3 service, under `sha256/<digest>`.

S3 shows only complete objects: a small image is uploaded in one request after its digest is verified, a larger one in
parts, which are completed after the verification and aborted on any failure. An upload buffers at most twice
PART_BYTES. `s3_client` connects.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC
from typing import Any

from services.domain import ids
from services.domain.errors import InvalidIdError
from services.ota.adapters.s3_client import convert_errors
from services.ota.errors import ImageNotFoundError, ObjectStoreError
from services.ota.model import Header, Image, blocks, verified

PART_BYTES = 5 * 1024 * 1024  # minimum of S3
READ_BYTES = 64 * 1024
_PREFIX = "sha256/"


class S3Objects:
    """The port ObjectStore over an S3 client."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._unfinished: frozenset[tuple[str, str]] = frozenset()

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """See the port."""
        if there := await self.stat(header.sha256):
            return there
        async with contextlib.aclosing(blocks(verified(header, chunks), PART_BYTES)) as parts:
            if header.size_bytes <= PART_BYTES:
                whole = b"".join([part async for part in parts])  # read to the end, where the digest is verified
                with convert_errors("storing an image"):
                    await self._client.put_object(**self._object(header.sha256), Body=io.BytesIO(whole))
            else:
                await self._put_parts(header, parts)
        image = await self.stat(header.sha256)
        if image is None:
            raise ImageNotFoundError(header.sha256)  # deleted concurrently
        return image

    async def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """See the port."""
        byte_range = f"bytes={offset}-{offset + length - 1}"
        with convert_errors("reading an image", image.sha256):
            answer = await self._client.get_object(**self._object(image.sha256), Range=byte_range)
        left = length
        async with answer["Body"] as body:
            while left > 0:
                with convert_errors("reading an image", image.sha256):
                    block = await body.content.read(min(READ_BYTES, left))
                if not block:
                    raise ObjectStoreError(f"the object store ended an image {left} bytes early")
                left -= len(block)
                yield block

    async def stat(self, sha256: str) -> Image | None:
        """See the port."""
        try:
            with convert_errors("looking up an image", sha256):
                head = await self._client.head_object(**self._object(sha256))
        except ImageNotFoundError:
            return None
        return Image(sha256, head["ContentLength"], head["LastModified"].astimezone(UTC))

    async def delete(self, sha256: str) -> bool:
        """See the port."""
        if await self.stat(sha256) is None:
            return False
        with convert_errors("deleting an image"):
            await self._client.delete_object(**self._object(sha256))
        return True

    async def list(self, after: str, limit: int) -> Sequence[Image]:
        """See the port."""
        images: list[Image] = []
        while len(images) < limit:
            with convert_errors("listing images"):
                page = await self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=_PREFIX, StartAfter=_PREFIX + after, MaxKeys=limit - len(images) + 1
                )
            found = page.get("Contents", [])
            images.extend(image for entry in found if (image := _listed(entry)) and image.sha256 > after)
            if not page.get("IsTruncated") or not found:
                break
            after = found[-1]["Key"].removeprefix(_PREFIX)
        return images[:limit]

    async def sweep(self) -> int:
        """See the port."""
        with convert_errors("listing unfinished uploads"):
            page = await self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=_PREFIX)
        unfinished = frozenset((entry["Key"], entry["UploadId"]) for entry in page.get("Uploads", []))
        dead, self._unfinished = unfinished & self._unfinished, unfinished
        for key, upload in dead:
            await self._abort(key, upload)
        return len(dead)

    def _object(self, sha256: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": _PREFIX + sha256}

    async def _put_parts(self, header: Header, parts: AsyncGenerator[bytes, None]) -> None:
        where = self._object(header.sha256)
        with convert_errors("beginning an upload"):
            upload = (await self._client.create_multipart_upload(**where))["UploadId"]
        try:
            done: list[dict[str, Any]] = []
            async for part in parts:
                number = len(done) + 1
                with convert_errors("storing a part"):
                    answer = await self._client.upload_part(
                        **where, UploadId=upload, PartNumber=number, Body=io.BytesIO(part)
                    )
                done.append({"PartNumber": number, "ETag": answer["ETag"]})
            with convert_errors("completing an upload"):
                await self._client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": done})
        except BaseException:
            await self._abort(where["Key"], upload)
            raise

    async def _abort(self, key: str, upload: str) -> None:
        """Abort an upload; if that fails, `sweep` does. A completed upload is not affected."""
        with contextlib.suppress(ObjectStoreError, ImageNotFoundError), convert_errors("aborting an upload", key):
            await self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)


def _listed(entry: dict[str, Any]) -> Image | None:
    """Return the image of a listing entry, or None if the key is not one of an image."""
    try:
        digest = ids.digest(entry["Key"].removeprefix(_PREFIX))
    except InvalidIdError:
        return None
    return Image(digest, entry["Size"], entry["LastModified"].astimezone(UTC))
