"""Relays updates: reports of a device to ota, offers of ota to the device.

Only a carrier: envelopes and chunks pass unchanged and unchecked, the device verifies all of it against its own root.
Memory: a session keeps a few numbers and at most MAX_QUEUED_REPORTS reports. The module `chunks` sends chunks by
credit. docs/reference/updates.md, "On the link".
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.domain.errors import YggError
from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.ports import SessionFacts, Wire
from services.jotunheim_bridge.service.chunks import MAX_RETRY_S, RETRY_S, ChunkPump, ChunkSource, Source
from services.jotunheim_bridge.service.meter import Meter
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.device.v1 import ota_pb2 as ota
from yggdrasil.ota.v1 import relay_pb2 as pb

MAX_QUEUED_REPORTS = 16
"""Reports of one session not yet accepted by ota."""
MAX_OTA_FRAMES = 256
"""Maximum ota frames in a heartbeat that advance no download."""
MAX_CREDIT_CHUNKS = 64
"""Chunks that a device may request at a time."""
MAX_CREDIT_BYTES = 96 * 1024
"""Maximum chunk bytes in flight to one device: unread ones are buffered here."""
SLICE_BYTES = 512
SLICE_OVERHEAD_BYTES = 32
PROGRESS_PARTS = 4
"""Progress is reported once per quarter: ota stores no more, and a call costs as much as thirty chunks."""
_FROM_DEVICE = ("ota_status", "ota_accept", "ota_reject", "ota_chunk_request", "ota_progress", "ota_result")
_log = logging.getLogger(__name__)


class Ota(ChunkSource, Protocol):
    """The service ota; every method raises RemoteError."""

    async def report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        """Forward a report of a device; return the response for it."""


class OtaSession(Protocol):
    """The part of a session that the relay uses."""

    device_id: str
    facts: SessionFacts
    wire: Wire
    ended: bool
    ota: DeviceOta | None


@dataclass(slots=True)
class DeviceOta:
    """Update state of one session: queued reports and the active download. No tasks and no I/O."""

    meter: Meter
    reports: deque[pb.ReportRequest] = field(default_factory=deque)
    status: ota.OtaStatus | None = None
    source: Source | None = None
    queued: bool = False
    written_bytes: int = 0
    reported_part: int = 0

    def on_frame(self, frame: link.Frame) -> None:
        """Process a frame of the device; raises LinkError for a frame that only a bridge sends, or for too many."""
        body = frame.WhichOneof("body")
        if body not in _FROM_DEVICE:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, f"only a bridge sends {body}")
        if body == "ota_chunk_request":
            self._credit(frame.ota_chunk_request)
            return
        self.meter.count()
        if body == "ota_status":
            if len(frame.ota_status.nonce) != 16:
                raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "the nonce must have 16 bytes")
            self.status, self.source = frame.ota_status, None
            self._queue(pb.ReportRequest(status=frame.ota_status))
        elif body == "ota_accept":
            self._accepted(frame.ota_accept)
            self._queue(pb.ReportRequest(accept=frame.ota_accept))
        elif body == "ota_progress":
            self._progress(frame.ota_progress)
        elif body == "ota_reject":
            self.source = None
            self._queue(pb.ReportRequest(reject=frame.ota_reject))
        else:
            self.source = None
            self._queue(pb.ReportRequest(result=frame.ota_result))

    def wake(self) -> None:
        """Queue the last status again, or the current progress: ota responds with what it has for the device."""
        if self.reports or self.status is None:
            return
        if self.source is None:
            self._queue(pb.ReportRequest(status=self.status))
        else:
            now = ota.OtaProgress(update_id=self.source.update_id, written_bytes=self.written_bytes)
            self._queue(pb.ReportRequest(progress=now))

    def on_offer(self, offer: pb.Offer) -> None:
        """Start an update; no chunk is sent before the device accepts it."""
        self.source, self.written_bytes, self.reported_part = Source(offer.offer.update_id, offer), 0, 0

    def _progress(self, progress: ota.OtaProgress) -> None:
        self.written_bytes = progress.written_bytes
        if self.source is None:
            return  # of an ended update
        part = self.written_bytes * PROGRESS_PARTS // max(1, self.source.offer.image_size_bytes)
        if part != self.reported_part:
            self.reported_part = part
            self._queue(pb.ReportRequest(progress=progress))

    def _queue(self, report: pb.ReportRequest) -> None:
        newest = self.reports[-1] if len(self.reports) > 1 else None  # the first one may be in flight
        if newest is not None and newest.WhichOneof("report") == report.WhichOneof("report") != "result":
            self.reports.pop()
        if len(self.reports) >= MAX_QUEUED_REPORTS:
            raise LinkError(
                link.GOODBYE_CODE_FLOOD, f"more than {MAX_QUEUED_REPORTS} reports of updates while ota is unavailable"
            )
        self.reports.append(report)

    def _accepted(self, accept: ota.OtaAccept) -> None:
        source = self.source
        if source is None or source.update_id != accept.update_id or source.sha256:
            return
        offer = source.offer
        if accept.delta and offer.offer.HasField("delta"):
            source.sha256, source.size = offer.offer.delta.patch_sha256, offer.offer.delta.patch_size_bytes
        else:
            source.sha256, source.size = offer.image_sha256, offer.image_size_bytes
        source.position = source.limit = accept.offset_bytes

    def _credit(self, request: ota.OtaChunkRequest) -> None:
        source = self.source
        if source is None or source.update_id != request.update_id or not source.sha256:
            self.meter.count()  # of an ended update: sent before the device knew
            return
        if request.offset_bytes % source.chunk_size or not 1 <= request.chunks <= MAX_CREDIT_CHUNKS:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "invalid credit for chunks")
        if request.resend or request.offset_bytes > source.position:
            self.meter.count()
            source.position = request.offset_bytes
        chunks = min(request.chunks, MAX_CREDIT_BYTES // source.chunk_size)
        limit = request.offset_bytes + chunks * source.chunk_size
        if limit <= source.position:
            self.meter.count()
        source.limit = limit


class OtaRelay:
    """Connects sessions to ota. Without ota (None), devices are not updated; nothing else changes."""

    def __init__(self, ota: Ota | None) -> None:
        self._ota = ota
        self._working: dict[OtaSession, asyncio.Task[None]] = {}
        self._pump = None if ota is None else ChunkPump(ota)

    def flush(self, session: OtaSession) -> None:
        """Send queued reports and due chunks of a session."""
        update = session.ota
        if update is None or session.ended or self._ota is None or self._pump is None:
            return
        if update.reports and session not in self._working:
            self._working[session] = self._task(self._work(self._ota, session, update), session)
        self._pump.add(session)

    def wake(self, session: OtaSession) -> None:
        """Process a wake-up message of ota for this device."""
        if session.ota is not None and not session.ended:
            session.ota.wake()
            self.flush(session)

    async def stop(self) -> None:
        """Cancel pending work; devices continue on another bridge."""
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pump is not None:
            await self._pump.stop()

    def _task(self, work: Coroutine[Any, Any, None], session: OtaSession) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)

        def done(_: asyncio.Task[None]) -> None:
            self._working.pop(session, None)
            self.flush(session)  # reports that arrived after its last check

        task.add_done_callback(done)
        return task

    async def _work(self, service: Ota, session: OtaSession, update: DeviceOta) -> None:
        wait_s = RETRY_S
        while update.reports and not session.ended:
            report = pb.ReportRequest()
            report.CopyFrom(update.reports[0])
            report.device_id = session.device_id
            report.device_class = session.facts.build.device_class
            report.rx_frame_bytes = session.facts.link.device_rx_frame_bytes
            try:
                answer = await service.report(report)
            except YggError as e:
                if wait_s == RETRY_S:
                    _log.warning("ota report failed", extra={"device": session.device_id, "why": e.message})
                await asyncio.sleep(random.uniform(0.1, wait_s))  # noqa: S311 - load spreading, not security
                wait_s = min(2 * wait_s, MAX_RETRY_S)
                continue
            wait_s = RETRY_S
            update.reports.popleft()
            self._deliver(session, update, report, answer)

    def _deliver(
        self, session: OtaSession, update: DeviceOta, report: pb.ReportRequest, answer: pb.ReportResponse
    ) -> None:
        if session.ended:
            return
        if answer.abort_update_id:
            session.wire.send(link.Frame(ota_abort=ota.OtaAbort(update_id=answer.abort_update_id)))
        # A device that has sent another nonce since would refuse the offer.
        stale = update.status is None or report.status.nonce != update.status.nonce
        if answer.HasField("offer") and not stale and update.source is None:
            update.on_offer(answer.offer)
            for frame in frames(answer.offer, session.facts.link.device_rx_frame_bytes):
                session.wire.send(frame)


def frames(offer: pb.Offer, frame_bytes: int) -> list[link.Frame]:
    """Return OtaOffer and the slices of its metadata, none larger than the device can receive."""
    update_id, size = offer.offer.update_id, min(SLICE_BYTES, frame_bytes - SLICE_OVERHEAD_BYTES)
    parts = [(ota.OTA_ROLE_ROOT, root) for root in offer.roots]
    parts += [(ota.OTA_ROLE_TIMESTAMP, offer.timestamp), (ota.OTA_ROLE_RELEASE, offer.release)]
    found = [link.Frame(ota_offer=offer.offer)]
    for role, data in parts:
        for start in range(0, len(data), size):
            slice_of = ota.OtaMetadata(
                update_id=update_id,
                role=role,
                size_bytes=len(data),
                offset_bytes=start,
                data=data[start : start + size],
            )
            found.append(link.Frame(ota_metadata=slice_of))
    return found
