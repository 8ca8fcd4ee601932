"""Parts of unfinished uploads, one message each, in a JetStream stream that bounds their number, size and age.

    $KV.ota_parts.<sha256>     the bytes

Laid out as a key-value bucket, for its tools; a dropped part leaves no marker. Used with S3 as well: parts are deleted
as soon as their image is stored, and S3 cannot read back the parts of an unfinished upload.
"""

from __future__ import annotations

import nats.js.errors
from nats.js import JetStreamContext, api

from services.chassis.kv import BucketSpec
from services.chassis.nats import convert_errors
from services.chassis.quota import StreamQuota
from services.chassis.streams import ensure_stream
from services.ota.errors import PartsFullError
from services.ota.model.parts import PART_BYTES

PARTS = BucketSpec("ota_parts", max_value_bytes=PART_BYTES)
_HEADERS_BYTES = 4096
STORE_FRACTION = 0.1
"""Maximum part of the NATS store for unfinished uploads; beyond it, an upload fails as if there were too many parts."""
_FULL = frozenset({10054, 10077})  # maximum bytes, maximum messages exceeded


class NatsParts:
    """The port PartStore."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    @classmethod
    async def open(cls, js: JetStreamContext, replicas: int, max_parts: int, age_s: float) -> NatsParts:
        """Create or update the stream and bind to it; it keeps at most `max_parts` parts, each for `age_s` seconds."""
        config = api.StreamConfig(
            name=PARTS.stream,
            subjects=[PARTS.subject()],
            discard=api.DiscardPolicy.NEW,
            storage=api.StorageType.FILE,
            num_replicas=replicas,
            max_msgs=max_parts,
            max_msgs_per_subject=1,
            max_msg_size=PARTS.max_value_bytes + _HEADERS_BYTES,
            max_age=age_s,
            allow_rollup_hdrs=True,
            allow_direct=True,
        )
        await ensure_stream(
            js, config, StreamQuota(STORE_FRACTION, max_parts * (PARTS.max_value_bytes + _HEADERS_BYTES))
        )
        return cls(js)

    async def put(self, part: str, data: bytes) -> None:
        """See the port."""
        with convert_errors(f"part {part}"):
            try:
                await self._js.publish(PARTS.subject(part), data, stream=PARTS.stream)
            except nats.js.errors.APIError as e:
                if e.err_code in _FULL:
                    raise PartsFullError from e
                raise

    async def get(self, part: str) -> bytes | None:
        """See the port."""
        with convert_errors(f"part {part}"):
            try:
                message = await self._js.get_last_msg(PARTS.stream, PARTS.subject(part), direct=True)
            except nats.js.errors.NotFoundError:
                return None
        return message.data

    async def drop(self, part: str) -> None:
        """See the port."""
        with convert_errors(f"part {part}"):
            await self._js.purge_stream(PARTS.stream, subject=PARTS.subject(part))

    async def stored(self) -> frozenset[str]:
        """See the port."""
        with convert_errors("unfinished uploads"):
            state = (await self._js.stream_info(PARTS.stream, subjects_filter=PARTS.subject())).state
        return frozenset(subject.rpartition(".")[2] for subject in state.subjects or {})
