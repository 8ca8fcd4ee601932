"""One active device session: its frames, its events on the way to the stream, its end.

        ACTIVE ──Goodbye, silence, protocol error, replaced, drained──► ENDED
          │ ▲        Result → the waiting call     Event → outbox → stream → EventAck     Ping → Pong
   Update ▼ │ ContractNotice
        UPDATING     new calls wait

The outbox has the entries for the stream in order: online, contract, events, offline. A device may have `EVENT_WINDOW`
events unacknowledged and as many telemetry frames in flight as it has credit for; more end its session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.chassis import codec
from services.domain.contract import Changes
from services.jotunheim_bridge.errors import LinkError, cut
from services.jotunheim_bridge.model import translate
from services.jotunheim_bridge.model.negotiation import Agreement
from services.jotunheim_bridge.ports import Claim, Clock, SessionFacts, Wire
from services.jotunheim_bridge.service.call_table import CallTable
from services.jotunheim_bridge.service.certificate import DeviceRenewal
from services.jotunheim_bridge.service.meter import Meter
from services.jotunheim_bridge.service.ota import MAX_OTA_FRAMES, DeviceOta
from services.jotunheim_bridge.service.twin import DeviceTwin
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

EVENT_WINDOW = 32
"""Events of one device without acknowledgement."""
TELEMETRY_CREDIT = 64
"""Telemetry frames in flight of one device."""
MAX_SAMPLES = 8
"""In one telemetry frame."""
MAX_MESSAGE_BYTES = 63
"""Of Result.message, in bytes of UTF-8."""
MAX_QUEUED_PAGES = 128
"""Capability pages of an update not yet processed."""
MAX_UNSOLICITED_FRAMES = 256
"""Frames in one heartbeat that answer nothing and cost no credit: Ping, Pong, repeats, results of unknown calls."""
MAX_TWIN_REPORTS = 1024
"""TwinReports in one heartbeat."""


@dataclass(slots=True)
class Outgoing:
    """An outbox entry: an event for the stream (None: outside the contract), and the sequence to acknowledge."""

    event: pb.DeviceEvent | None
    ack: int = 0


class Session:
    """A session with a contract. All methods run on the event loop's thread, and none blocks."""

    __slots__ = (
        *("agreed", "facts", "claim", "wire", "device_id", "session_id", "calls", "twin", "ota", "update", "pages"),
        *("renewal", "ended", "finished", "updating", "released", "end_reason", "denied", "draining"),
        *(
            "_clock",
            "_outbox",
            "_telemetry",
            "_unsolicited",
            "_last_sequence",
            "_unacknowledged",
            "_credit",
            "_granted",
        ),
    )

    def __init__(
        self, agreed: Agreement, facts: SessionFacts, claim: Claim, wire: Wire, clock: Clock, last_sequence: int
    ) -> None:
        self.agreed, self.facts, self.claim, self.wire, self._clock = agreed, facts, claim, wire, clock
        self.device_id, self.session_id = facts.device_id, facts.session_id
        self.calls = CallTable(self.device_id, facts.boot_id)
        self.ended = self.finished = self.updating = False
        self.released: bool | None = None
        self.end_reason = self.denied = ""
        self.draining: asyncio.Task[None] | None = None
        self.update: link.CapabilityUpdate | None = None
        self.pages: asyncio.Queue[link.Frame] | None = None
        self._outbox: list[Outgoing] = []
        self._telemetry: list[pb.DeviceEvent] = []
        heartbeat_s = facts.link.heartbeat_ms / 1000
        self._unsolicited = Meter(MAX_UNSOLICITED_FRAMES, "unsolicited frames", heartbeat_s, clock)
        self.twin: DeviceTwin | None = None
        if "twin" in facts.features:
            self.twin = DeviceTwin(agreed, facts.link, Meter(MAX_TWIN_REPORTS, "twin reports", heartbeat_s, clock))
        self.ota: DeviceOta | None = None
        if "ota" in facts.features:
            self.ota = DeviceOta(Meter(MAX_OTA_FRAMES, "ota frames", heartbeat_s, clock))
        self.renewal = DeviceRenewal(wire) if "certificate" in facts.features else None
        self._last_sequence, self._unacknowledged = last_sequence, 0
        self._credit = self._granted = telemetry_credit(facts.features)

    def announce(self, changes: Changes | None) -> None:
        """Queue `online`, and `contract` if it is new."""
        identity_conflict_peer = self.claim.session.identity_conflict_peer
        self._push(
            self._event(pb.EVENT_KIND_ONLINE, session_id=self.session_id, identity_conflict_peer=identity_conflict_peer)
        )
        self.announce_contract(changes)

    def announce_contract(self, changes: Changes | None) -> None:
        """Queue `contract`, unless it is unchanged."""
        if changes is not None:
            revision, message = self.agreed.contract.revision, codec.changes_to_proto(changes)
            self._push(self._event(pb.EVENT_KIND_CONTRACT, contract_revision=revision, changes=message))

    def handle(self, frame: link.Frame) -> None:
        """Process a frame of the device; raises LinkError if it is invalid in this state."""
        body = frame.WhichOneof("body")
        if body == "result":
            _check_message(frame.result.message, MAX_MESSAGE_BYTES)
            if not self.calls.answer(frame.result):
                self._unsolicited.count()
        elif body == "event":
            self._on_event(frame.event)
        elif body == "telemetry":
            self._on_telemetry(frame.telemetry)
        elif body == "twin_report":
            self._on_twin(frame.twin_report)
        elif body in {"ping", "pong"}:
            self._on_ping(frame)
        elif body == "goodbye":
            self.wire.close()
            self.end("the device said goodbye")
        elif body == "capability_update":
            self._on_update(frame.capability_update)
        elif body == "capability_page" and self.pages is not None and self.pages.qsize() < MAX_QUEUED_PAGES:
            self.pages.put_nowait(frame)
        elif body == "certificate_request":
            self._on_certificate_request(frame.certificate_request)
        elif body is not None and body.startswith("ota_"):
            self._on_ota(frame)
        else:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, f"{body} is not allowed in an active session")

    def _on_ping(self, frame: link.Frame) -> None:
        self._unsolicited.count()
        if frame.WhichOneof("body") == "ping":
            self.wire.send(link.Frame(pong=link.Pong(token=frame.ping.token)))

    def _on_event(self, frame: link.Event) -> None:
        if not frame.sequence:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "an event without sequence")
        if frame.sequence <= self._last_sequence:
            self._unsolicited.count()
            if not self._unacknowledged:
                self.wire.send(_ack(self._last_sequence))  # the device missed the acknowledgement
            return
        self._unacknowledged += 1
        if self._unacknowledged > EVENT_WINDOW:
            raise LinkError(link.GOODBYE_CODE_FLOOD, f"more than {EVENT_WINDOW} events unacknowledged")
        self._last_sequence = frame.sequence
        named = translate.event(self.agreed, frame)
        event = None if named is None else self._named(pb.EVENT_KIND_EVENT, named)
        if event is not None:
            event.boot_id, event.sequence, event.dropped = self.facts.boot_id, frame.sequence, frame.dropped
        self._push(event, ack=frame.sequence)

    def _on_telemetry(self, frame: link.Telemetry) -> None:
        self._credit -= 1
        if self._credit < 0:
            raise LinkError(link.GOODBYE_CODE_FLOOD, "telemetry without credit")
        if not 1 <= len(frame.samples) <= MAX_SAMPLES:
            raise LinkError(
                link.GOODBYE_CODE_PROTOCOL_ERROR, f"{len(frame.samples)} samples, 1 to {MAX_SAMPLES} are allowed"
            )
        for sample in frame.samples:
            named = translate.sample(self.agreed, sample)
            if named is not None:
                event = self._named(pb.EVENT_KIND_TELEMETRY, named)
                event.time.FromDatetime(self._clock.now() - timedelta(milliseconds=sample.age_ms))
                event.dropped = frame.dropped
                self._telemetry.append(event)

    def _on_twin(self, report: link.TwinReport) -> None:
        if self.twin is None:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "the feature twin was not agreed on")
        if self.update is None:  # else it has indexes of the old document; a complete report by the new one follows
            self.twin.on_report(report)

    def _on_ota(self, frame: link.Frame) -> None:
        if self.ota is None:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "the feature ota was not agreed on")
        self.ota.on_frame(frame)

    def _on_certificate_request(self, request: link.CertificateRequest) -> None:
        if self.renewal is None:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "the feature certificate was not agreed on")
        self.renewal.on_request(request)

    def _on_update(self, update: link.CapabilityUpdate) -> None:
        if "capability_update" not in self.facts.features:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "the feature capability_update was not agreed on")
        if self.update is not None:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a capability update is already in progress")
        self.update, self.pages = update, asyncio.Queue()
        self.calls.pause()
        if self.twin is not None:
            self.twin.restart(self.agreed)

    def updated(self, agreed: Agreement, changes: Changes | None) -> None:
        """Activate the contract after a capability update, and resume calls."""
        self.agreed, self.update, self.pages = agreed, None, None
        if self.twin is not None:
            self.twin.restart(agreed)
        self.announce_contract(changes)
        self.calls.resume()

    def _named(self, kind: pb.EventKind.ValueType, named: translate.NamedEvent) -> pb.DeviceEvent:
        fields = codec.values_to_proto(named.fields)
        return self._event(kind, capability=named.capability, name=named.name, fields=fields)

    def _event(self, kind: pb.EventKind.ValueType, **fields: object) -> pb.DeviceEvent:
        stamp = codec.timestamp(self._clock.now())
        return pb.DeviceEvent(device_id=self.device_id, kind=kind, time=stamp, **fields)  # type: ignore[arg-type]

    def _push(self, event: pb.DeviceEvent | None, ack: int = 0) -> None:
        self._outbox.append(Outgoing(event, ack))

    def peek(self, limit: int) -> list[Outgoing]:
        """Return at most `limit` entries for the stream; they stay in the outbox until `stored`."""
        return self._outbox[:limit]

    def stored(self, count: int) -> None:
        """Remove the first `count` entries, now stored, and acknowledge their events to the device."""
        earned = [outgoing.ack for outgoing in self._outbox[:count] if outgoing.ack]
        del self._outbox[:count]
        self._unacknowledged -= len(earned)
        if earned and not self.ended:
            self.wire.send(_ack(earned[-1]))

    def take_telemetry(self) -> list[pb.DeviceEvent]:
        """Return and remove the samples to publish; the caller calls `telemetry_done` once they are sent."""
        taken, self._telemetry = self._telemetry, []
        return taken

    def telemetry_done(self) -> None:
        """Grant new credit once half of it is used."""
        used = self._granted - self._credit
        if used >= TELEMETRY_CREDIT // 2 and not self.ended:
            self._credit += used
            self.wire.send(link.Frame(credit=link.Credit(telemetry=used)))

    @property
    def busy(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._outbox or self._telemetry)

    def close(
        self, code: link.GoodbyeCode.ValueType, message: str, reconnect_after_ms: int = 0, reconnect_to: str = ""
    ) -> None:
        """Say goodbye and end the session."""
        goodbye = link.Goodbye(
            code=code, message=cut(message), reconnect_after_ms=reconnect_after_ms, reconnect_to=reconnect_to[:63]
        )
        self.wire.close(link.Frame(goodbye=goodbye))
        self.end(message)

    def end(self, reason: str) -> None:
        """End the session: calls in flight fail with outcome unknown. Idempotent."""
        if not self.ended:
            self.ended, self.end_reason = True, reason
            self.calls.end()

    def offline_event(self, now: datetime) -> pb.DeviceEvent:
        """Return the last event of the session."""
        return pb.DeviceEvent(
            device_id=self.device_id,
            kind=pb.EVENT_KIND_OFFLINE,
            time=codec.timestamp(now),
            reason=self.end_reason,
            denied_state=self.denied,
            session_id=self.session_id,
        )


def telemetry_credit(features: Collection[str]) -> int:
    """Return the initial telemetry credit for these features, in frames."""
    return TELEMETRY_CREDIT if "telemetry" in features else 0


def _check_message(text: str, limit_bytes: int) -> None:
    size = len(text.encode())
    if size > limit_bytes:
        raise LinkError(
            link.GOODBYE_CODE_PROTOCOL_ERROR, f"a message of {size} bytes, at most {limit_bytes} are allowed"
        )


def _ack(sequence: int) -> link.Frame:
    return link.Frame(event_ack=link.EventAck(sequence=sequence))
