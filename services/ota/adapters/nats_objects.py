"""Images in a JetStream object store. Layout of NATS ADR-20, readable by other clients.

    $O.<bucket>.C.<upload>      the bytes of one upload, BLOCK_BYTES a message
    $O.<bucket>.M.<name>        its metadata, in JSON; the name in base64url. An image exists once this does

Implements writing itself instead of nats-py's ObjectStore: chunks arrive as a stream, and a commit is a compare-and-set
on the metadata, so that of two concurrent uploads of an image one is kept and the other's chunks are removed, and a
cancelled upload leaves nothing. Reads start at the beginning; the disk cache serves ranges.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext, api
from nats.nuid import NUID

from services.chassis.errors import StoreFullError, StoreUnavailableError
from services.chassis.nats import convert_errors
from services.chassis.quota import StreamQuota
from services.chassis.streams import ensure_stream
from services.domain.errors import YggError
from services.ota.adapters.nats_read import messages
from services.ota.errors import CorruptImageError, ImageNotFoundError
from services.ota.model import Header, Image, blocks, verified

BLOCK_BYTES = 128 * 1024
STORE_FRACTION = 0.3
"""Maximum part of the NATS store for images. The rest is for the state of the mesh."""
_WRONG_LAST_SEQUENCE = 10071
_UNKNOWN = datetime.fromtimestamp(0, UTC)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Meta:
    """A metadata message; `sequence` 0 if it does not exist, for the compare-and-set."""

    sequence: int = 0
    upload: str = ""
    image: Image | None = None


class NatsObjects:
    """The port ObjectStore over JetStream."""

    def __init__(self, js: JetStreamContext, bucket: str, now: Callable[[], datetime]) -> None:
        self._js = js
        self._bucket = bucket
        self._now = now
        self._stream = f"OBJ_{bucket}"
        self._ids = NUID()
        self._unfinished: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    async def open(
        cls,
        js: JetStreamContext,
        bucket: str,
        replicas: int,
        now: Callable[[], datetime],
        max_bytes: int | None = None,
    ) -> NatsObjects:
        """Create or update the bucket and bind to it; `replicas` is 1 to 5, `now` returns UTC.

        `max_bytes` limits all images; None: STORE_FRACTION of the NATS store.
        """
        store = cls(js, bucket, now)
        config = api.StreamConfig(
            name=store._stream,
            subjects=[store._chunks(">"), f"$O.{bucket}.M.>"],
            discard=api.DiscardPolicy.NEW,
            storage=api.StorageType.FILE,
            num_replicas=replicas,
            allow_rollup_hdrs=True,
            allow_direct=True,
        )
        await ensure_stream(js, config, StreamQuota(STORE_FRACTION, fixed_bytes=max_bytes))
        return store

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """See the port."""
        before = await self._meta(header.sha256)
        if before.image:
            return before.image
        upload = self._ids.next().decode()
        count = 0
        try:
            async with contextlib.aclosing(blocks(verified(header, chunks), BLOCK_BYTES)) as found:
                async for block in found:
                    with convert_errors(f"image {header.sha256}"):
                        await self._js.publish(self._chunks(upload), block, stream=self._stream)
                    count += 1
        except StoreFullError:
            await self._discard(upload)
            raise
        except StoreUnavailableError:
            raise  # NATS would not answer a purge either; `sweep` removes the chunks
        except BaseException:
            await self._discard(upload)
            raise
        return await self._commit(header, upload, count, before.sequence)

    async def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """See the port."""
        meta = await self._meta(image.sha256)
        if not meta.image:
            raise ImageNotFoundError(image.sha256)
        position, end = 0, offset + length
        source = messages(self._js, self._stream, self._chunks(meta.upload))
        try:
            async with contextlib.aclosing(source):
                async for message in source:
                    start, position = position, position + len(message.data)
                    if part := message.data[max(0, offset - start) : end - start]:
                        yield part
                    if position >= end:
                        return
        except StoreUnavailableError:
            if (await self._meta(image.sha256)).upload != meta.upload:
                raise ImageNotFoundError(image.sha256) from None
            raise
        if (await self._meta(image.sha256)).upload != meta.upload:
            raise ImageNotFoundError(image.sha256)
        raise CorruptImageError(image.sha256, f"only {position} bytes are stored")

    async def stat(self, sha256: str) -> Image | None:
        """See the port."""
        return (await self._meta(sha256)).image

    async def delete(self, sha256: str) -> bool:
        """See the port."""
        meta = await self._meta(sha256)
        if not meta.image:
            return False
        info = api.ObjectInfo(name=sha256, bucket=self._bucket, nuid=meta.upload, size=0, chunks=0, deleted=True)
        if not await self._write_meta(info, meta.sequence):
            return False  # deleted concurrently
        await self._discard(meta.upload)
        return True

    async def list(self, after: str, limit: int) -> Sequence[Image]:
        """See the port."""
        images = [meta.image for meta in await self._metas() if meta.image and meta.image.sha256 > after]
        return sorted(images, key=lambda image: image.sha256)[:limit]

    async def sweep(self) -> int:
        """See the port."""
        with convert_errors("object store"):
            state = (await self._js.stream_info(self._stream, subjects_filter=self._chunks(">"))).state
        found = {(subject.rpartition(".")[2], count) for subject, count in (state.subjects or {}).items()}
        kept = {meta.upload for meta in await self._metas() if meta.image}
        unfinished = frozenset((upload, count) for upload, count in found if upload not in kept)
        dead, self._unfinished = unfinished & self._unfinished, unfinished
        for upload, _ in dead:
            await self._discard(upload)
        return len(dead)

    def _chunks(self, upload: str) -> str:
        return f"$O.{self._bucket}.C.{upload}"

    def _meta_subject(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    async def _meta(self, sha256: str) -> _Meta:
        with convert_errors(f"image {sha256}"):
            try:
                message = await self._js.get_last_msg(self._stream, self._meta_subject(sha256))
            except nats.js.errors.NotFoundError:
                return _Meta()
        return _parse(message.data or b"", message.seq or 0)

    async def _metas(self) -> Sequence[_Meta]:
        source = messages(self._js, self._stream, f"$O.{self._bucket}.M.>")
        return [_parse(m.data, m.metadata.sequence.stream) async for m in source]

    async def _commit(self, header: Header, upload: str, count: int, expected: int) -> Image:
        """Publish the metadata. If NATS does not answer, the chunks stay: the metadata may have been stored."""
        digest = base64.urlsafe_b64encode(bytes.fromhex(header.sha256)).decode()
        info = api.ObjectInfo(
            name=header.sha256,
            bucket=self._bucket,
            nuid=upload,
            size=header.size_bytes,
            chunks=count,
            digest=f"SHA-256={digest}",
            mtime=self._now().isoformat(),
            options=api.ObjectMetaOptions(max_chunk_size=BLOCK_BYTES),
        )
        if not await self._write_meta(info, expected):
            await self._discard(upload)
        image = await self.stat(header.sha256)
        if image is None:
            raise ImageNotFoundError(header.sha256)  # deleted concurrently
        return image

    async def _write_meta(self, info: api.ObjectInfo, expected: int) -> bool:
        """Write the metadata; return False if its sequence is no longer `expected`."""
        headers = {
            api.Header.ROLLUP.value: "sub",
            api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(expected),
        }
        body = json.dumps(info.as_dict()).encode()
        with convert_errors(f"image {info.name}"):
            try:
                await self._js.publish(self._meta_subject(info.name), body, headers=headers, stream=self._stream)
            except nats.js.errors.APIError as e:
                if e.err_code != _WRONG_LAST_SEQUENCE:
                    raise
                return False
        return True

    async def _discard(self, upload: str) -> None:
        """Remove the chunks of an upload; if that fails, `sweep` does."""
        try:
            with convert_errors(f"upload {upload}"):
                await self._js.purge_stream(self._stream, subject=self._chunks(upload))
        except (YggError, nats.errors.Error) as e:
            _log.warning("upload discard failed", extra={"upload": upload, "why": str(e)})


def _parse(data: bytes, sequence: int) -> _Meta:
    info = api.ObjectInfo.from_response(json.loads(data))
    if info.deleted:
        return _Meta(sequence)
    created = datetime.fromisoformat(info.mtime).astimezone(UTC) if info.mtime else _UNKNOWN
    return _Meta(sequence, info.nuid, Image(info.name, info.size or 0, created))
