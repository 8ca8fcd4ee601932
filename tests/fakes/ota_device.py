"""A device in Python that takes updates over the link, by the same rules as docs/reference/updates.md; not the agent.

Checks all that a device checks, with the same trust rules and real signatures; keeps its "flash" in memory. What it
does with an image once it is whole is for the test to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import secrets
import ssl
from dataclasses import dataclass, field
from typing import Any

from services.chassis import trust_codec
from services.domain import merkle, trust
from services.domain.trust import Manifest, Role, Root, Timestamp, TrustContext, TrustError
from tests.fakes.device import LinkDevice, LinkEndedError, offers
from tests.fixtures.wait import pace
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.device.v1 import ota_pb2 as ota

CODES: dict[str, ota.OtaCode.ValueType] = {
    "TOO_FEW_SIGNATURES": ota.OTA_CODE_SIGNATURE,
    "METADATA_EXPIRED": ota.OTA_CODE_EXPIRED,
    "TIMESTAMP_STALE": ota.OTA_CODE_STALE,
    "MIX_AND_MATCH": ota.OTA_CODE_MIX_AND_MATCH,
    "WRONG_DEVICE_CLASS": ota.OTA_CODE_DEVICE_CLASS,
    "WRONG_SLOT_SIZE": ota.OTA_CODE_SLOT_SIZE,
    "SECURITY_COUNTER": ota.OTA_CODE_SECURITY_COUNTER,
    "RELEASE_SEQUENCE": ota.OTA_CODE_SEQUENCE,
    "WRONG_PRECURSOR": ota.OTA_CODE_PRECURSOR,
    "ROOT_VERSION": ota.OTA_CODE_ROOT,
}


@dataclass
class Flash:
    """What outlives a restart."""

    root: Root
    image: bytes
    slot_size: int
    sequence: int = 0
    counter: int = 0
    newest: int = 0
    written: bytes = b""
    manifest: Manifest | None = None
    update_id: int = 0
    outcome: ota.OtaOutcome.ValueType = ota.OTA_OUTCOME_UNSPECIFIED
    code: ota.OtaCode.ValueType = ota.OTA_CODE_UNSPECIFIED
    formats: int = 0
    root_version: int = 1


@dataclass
class OtaDevice:
    """One session of it. `run` goes until an update is installed, refused or the link ends."""

    wire: LinkDevice
    flash: Flash
    device_class: str = "test"
    window: int = 4
    nonce: bytes = b""
    state: ota.OtaState.ValueType = ota.OTA_STATE_IDLE
    chunks: int = 0
    rejected: list[str] = field(default_factory=list)
    ended: list[ota.OtaResult] = field(default_factory=list)
    cut_after: int = -1
    spoil: bool = False
    beat: asyncio.Task[None] | None = None

    async def negotiate(self, frame_bytes: int = 1024) -> None:
        """To the contract, and the first status."""
        await self.wire.negotiate(
            hardware=link.Hardware(model="test-board", device_class=self.device_class),
            limits=link.Limits(
                rx_frame_bytes=frame_bytes, tx_frame_bytes=1024, calls_in_flight=2, rx_record_bytes=4096
            ),
            features=offers("ota"),
            boot_id=secrets.randbits(63) + 1,
        )
        self.beat = asyncio.create_task(self._beat())
        self.say_status()

    async def _beat(self) -> None:
        """Says something in every heartbeat, for as long as the link lives."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:
                await pace(0.4)
                self.wire.send(ping=link.Ping(token=1))
                await self.wire.drain()

    async def receive(self, within_s: float = 15.0) -> link.Frame:
        """The next frame that is no Pong; a Ping is answered."""
        while True:
            frame = await self.wire.receive(within_s)
            body = frame.WhichOneof("body")
            if body == "ping":
                self.wire.send(pong=link.Pong(token=frame.ping.token))
            elif body == "goodbye":
                raise LinkEndedError("the bridge says goodbye")
            elif body != "pong":
                return frame

    async def expect(self, body: str, within_s: float = 15.0) -> Any:
        """The body of the next frame, which must be of that name."""
        frame = await self.receive(within_s)
        assert frame.WhichOneof("body") == body, frame
        return getattr(frame, body)

    def say_status(self) -> None:
        """OtaStatus with a new nonce."""
        self.nonce = secrets.token_bytes(16)
        flash = self.flash
        self.wire.send(
            ota_status=ota.OtaStatus(
                nonce=self.nonce,
                state=ota.OTA_STATE_PARTIAL if flash.written else self.state,
                image_sha256=hashlib.sha256(flash.image).digest(),
                image_size_bytes=len(flash.image),
                sequence=flash.sequence,
                security_counter=flash.counter,
                root_version=flash.root_version,
                slot_size_bytes=flash.slot_size,
                update_id=flash.update_id,
                outcome=flash.outcome,
                code=flash.code,
                patch_formats=flash.formats,
                newest_sequence=flash.newest,
            )
        )

    async def run(self, within_s: float = 15.0) -> bytes:
        """Takes offers until an image is whole; returns it. Raises LinkEndedError, TimeoutError."""
        while True:
            frame = await self.receive(within_s)
            if frame.WhichOneof("body") == "ota_offer":
                image = await self._take(frame.ota_offer, within_s)
                if image is not None:
                    return image

    async def _take(self, offer: ota.OtaOffer, within_s: float) -> bytes | None:
        try:
            manifest = await self._checked(offer, within_s)
        except TrustError as e:
            self.rejected.append(e.reason)
            self.wire.send(
                ota_reject=ota.OtaReject(update_id=offer.update_id, code=CODES.get(e.reason, ota.OTA_CODE_MALFORMED))
            )
            self.say_status()
            return None
        flash = self.flash
        if flash.manifest != manifest or offer.HasField("delta"):
            flash.written = b""
        flash.manifest, flash.update_id, flash.outcome = manifest, offer.update_id, ota.OTA_OUTCOME_PENDING
        delta = offer.HasField("delta")
        self.wire.send(
            ota_accept=ota.OtaAccept(update_id=offer.update_id, delta=delta, offset_bytes=len(flash.written))
        )
        data = await self._chunks(offer, manifest, within_s)
        if data is None:
            return None
        image = _patched(flash.image, data) if delta else data
        if hashlib.sha256(image).digest() != manifest.image_sha256:
            self._end(offer.update_id, ota.OTA_OUTCOME_FAILED, ota.OTA_CODE_DIGEST)
            self.say_status()
            return None
        self._end(offer.update_id, ota.OTA_OUTCOME_PENDING, ota.OTA_CODE_UNSPECIFIED)
        return image

    async def _checked(self, offer: ota.OtaOffer, within_s: float) -> Manifest:
        flash = self.flash
        for _ in range(offer.roots):
            envelope = trust_codec.envelope(Role.ROOT, await self._metadata(ota.OTA_ROLE_ROOT, within_s))
            flash.root = trust.check_next_root(
                flash.root, trust_codec.root(envelope.payload), envelope, trust_codec.verify
            )
            flash.root_version = flash.root.version
        stamp_data = await self._metadata(ota.OTA_ROLE_TIMESTAMP, within_s)
        release_data = await self._metadata(ota.OTA_ROLE_RELEASE, within_s)
        context = TrustContext(
            self.wire.device_id,
            self.device_class,
            flash.slot_size,
            hashlib.sha256(flash.image).digest(),
            flash.sequence,
            flash.counter,
            flash.newest,
            self.nonce,
        )
        stamped = trust_codec.envelope(Role.TIMESTAMP, stamp_data)
        stamp: Timestamp = trust_codec.timestamp(stamped.payload)
        trust.check_timestamp(flash.root, stamp, stamped, trust_codec.verify, context)
        flash.newest = stamp.newest_sequence
        released = trust_codec.envelope(Role.RELEASE, release_data)
        manifest = trust_codec.manifest(released.payload)
        trust.check_offer(flash.root, stamp, manifest, released, trust_codec.verify, context)
        if offer.HasField("delta"):
            trust.check_patch(manifest, trust_codec.delta(offer.delta), context)
        return manifest

    async def _metadata(self, role: ota.OtaRole.ValueType, within_s: float) -> bytes:
        data = b""
        while True:
            piece: ota.OtaMetadata = await self.expect("ota_metadata", within_s)
            assert (piece.role, piece.offset_bytes) == (role, len(data))
            data += piece.data
            if len(data) == piece.size_bytes:
                return data

    async def _chunks(self, offer: ota.OtaOffer, manifest: Manifest, within_s: float) -> bytes | None:
        delta, size = offer.delta, manifest.chunk_size_bytes
        total = delta.patch_size_bytes if offer.HasField("delta") else manifest.image_size_bytes
        root = delta.patch_chunks_root if offer.HasField("delta") else manifest.chunks_root
        data = self.flash.written
        if len(data) < total:
            self._ask(offer, len(data))
        while len(data) < total:
            frame = await self.receive(within_s)
            if frame.WhichOneof("body") == "ota_abort":
                self._end(offer.update_id, ota.OTA_OUTCOME_FAILED, ota.OTA_CODE_ABORTED)
                self.flash.written = b""
                self.say_status()
                return None
            if frame.WhichOneof("body") != "ota_chunk":
                continue
            chunk = frame.ota_chunk
            assert chunk.offset_bytes == len(data), (chunk.offset_bytes, len(data))
            path = [chunk.proof[i : i + 32] for i in range(0, len(chunk.proof), 32)]
            received = b"spoilt" if self.spoil else chunk.data
            if not merkle.fits(root, received, len(data) // size, -(-total // size), path):
                self.spoil = False
                while chunk.offset_bytes + size < min(total, len(data) + self.window * size):
                    chunk = await self.expect("ota_chunk", within_s)
                self._ask(offer, len(data), resend=True)
                continue
            data += chunk.data
            self.chunks += 1
            self.flash.written = b"" if offer.HasField("delta") else data
            if self.chunks == self.cut_after:
                self.wire.vanish()
                raise LinkEndedError("the power is cut")
            if len(data) < total and len(data) // size % self.window == 0:
                self.wire.send(ota_progress=ota.OtaProgress(update_id=offer.update_id, written_bytes=len(data)))
                self._ask(offer, len(data))
        return data

    def _ask(self, offer: ota.OtaOffer, offset: int, *, resend: bool = False) -> None:
        self.wire.send(
            ota_chunk_request=ota.OtaChunkRequest(
                update_id=offer.update_id, offset_bytes=offset, chunks=self.window, resend=resend
            )
        )

    def _end(self, update_id: int, outcome: ota.OtaOutcome.ValueType, code: ota.OtaCode.ValueType) -> None:
        result = ota.OtaResult(update_id=update_id, outcome=outcome, code=code)
        self.flash.outcome, self.flash.code = outcome, code
        self.ended.append(result)
        self.wire.send(ota_result=result)


def booted(flash: Flash, image: bytes, *, good: bool = True) -> Flash:
    """The flash after the restart into a whole image: confirmed, or back to the old one."""
    manifest = flash.manifest
    assert manifest is not None
    flash.written = b""
    if good:
        flash.image, flash.sequence = image, manifest.sequence
        flash.counter = max(flash.counter, manifest.security_counter)
        flash.outcome, flash.code = ota.OTA_OUTCOME_CONFIRMED, ota.OTA_CODE_UNSPECIFIED
    else:
        flash.outcome, flash.code = ota.OTA_OUTCOME_REVERTED, ota.OTA_CODE_NOT_CONFIRMED
    return flash


def _patched(old: bytes, patch: bytes) -> bytes:
    import detools  # type: ignore[import-untyped]

    new = io.BytesIO()
    detools.apply_patch(io.BytesIO(old), io.BytesIO(patch), new)
    return new.getvalue()
