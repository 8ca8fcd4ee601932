"""One active device session: its calls in flight, its events on their way to the stream, its end.

        ACTIVE ──Goodbye, silence, rule broken, replaced, drained──► ENDED
    Result → the waiting call      Event → outbox → stream → EventAck      Ping → Pong

The outbox holds what must reach the stream in order: online, contract, events, offline. When it is full the link is
not read any more, so a flooding device feels it and costs only its own session.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from services.chassis import codec
from services.domain import ids
from services.domain.values import Value
from services.jotunheim_bridge.errors import (
    CallDeadlineError,
    DeviceBusyError,
    DeviceLateError,
    DeviceOfflineError,
    DeviceRefusedError,
    LinkError,
    OutcomeUnknownError,
    TooManyCallsError,
)
from services.jotunheim_bridge.model import translate
from services.jotunheim_bridge.model.negotiation import Agreement
from services.jotunheim_bridge.model.translate import LinkCall
from services.jotunheim_bridge.ports import Claim, Clock, SessionFacts, Wire
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

OUTBOX_LIMIT = 64
_log = logging.getLogger(__name__)
_REFUSALS = {
    link.RESULT_STATUS_BUSY: DeviceBusyError,
    link.RESULT_STATUS_DEADLINE: DeviceLateError,
}


@dataclass(slots=True)
class Outgoing:
    """What the outbox holds: an event for the stream, or None for one outside the contract; then the ack it earns."""

    event: pb.DeviceEvent | None
    ack: int = 0


@dataclass(slots=True)
class _Waiting:
    answer: asyncio.Future[link.Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    callers: int = 0


class Session:
    """A session after its contract. All methods run on the event loop's thread and none blocks."""

    def __init__(
        self, agreed: Agreement, facts: SessionFacts, claim: Claim, wire: Wire, clock: Clock, last_sequence: int
    ) -> None:
        self.agreed, self.facts, self.claim, self._wire, self._clock = agreed, facts, claim, wire, clock
        self.device_id, self.session_id = facts.device_id, facts.session_id
        self.ended = False
        self.end_reason = ""
        self.draining: asyncio.Task[None] | None = None
        self.finished = False
        self._calls: dict[str, _Waiting] = {}
        self._outbox: deque[Outgoing] = deque()
        self._last_sequence = last_sequence
        self._paused = False

    def announce(self, contract_changed: bool) -> None:
        """Puts `online`, and `contract` where it is new, before all else in the outbox."""
        self._push(self._event(pb.EVENT_KIND_ONLINE, session_id=self.session_id))
        if contract_changed:
            revision = self.agreed.contract.revision
            self._push(self._event(pb.EVENT_KIND_CONTRACT, contract_revision=revision))

    async def call(self, call: LinkCall, call_id: str, timeout_s: float) -> dict[str, Value]:
        """Sends a call and waits for its results by name. A call whose id is in flight already is waited for with it.

        Raises TooManyCallsError (nothing was sent), CallDeadlineError, OutcomeUnknownError, DeviceRefusedError and its
        kin, ResultError.
        """
        waiting = self._calls.get(call_id) or self._send(call, call_id, timeout_s)
        waiting.callers += 1
        try:
            async with asyncio.timeout(timeout_s):
                answer = await asyncio.shield(waiting.answer)
        except TimeoutError as e:
            raise CallDeadlineError(self.device_id, call_id, timeout_s) from e
        finally:
            waiting.callers -= 1
            if not waiting.callers and self._calls.get(call_id) is waiting:
                del self._calls[call_id]
        if answer.status != link.RESULT_STATUS_OK:
            raise self._refusal(call.where, answer)
        return translate.results(call, answer)

    def _send(self, call: LinkCall, call_id: str, timeout_s: float) -> _Waiting:
        if self.ended:
            raise DeviceOfflineError(self.device_id)
        limit = self.agreed.contract.link.calls_in_flight
        if len(self._calls) >= limit:
            raise TooManyCallsError(self.device_id, limit)
        self._wire.send(call.frame(call_id, max(1, int(timeout_s * 1000))))
        return self._calls.setdefault(call_id, _Waiting())

    def _refusal(self, where: str, answer: link.Result) -> Exception:
        status = link.ResultStatus.Name(answer.status).removeprefix("RESULT_STATUS_")
        said = ids.printable(answer.message) or status.lower()
        kind = _REFUSALS.get(answer.status, DeviceRefusedError)
        return kind(f"{self.device_id} refused {where}: {said}", device=self.device_id, status=status)

    def handle(self, frame: link.Frame) -> None:
        """What a frame of the device means in this state; raises LinkError where it has no business here."""
        body = frame.WhichOneof("body")
        if body == "result":
            waiting = self._calls.get(frame.result.call_id)
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(frame.result)  # one that nobody waits for any more came too late
        elif body == "event":
            self._take_event(frame.event)
        elif body == "ping":
            self._wire.send(link.Frame(pong=link.Pong(token=frame.ping.token)))
        elif body == "goodbye":
            self._wire.close()
            self.end("it said goodbye")
        elif body != "pong":
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, f"{body} has no place in an active session")

    def _take_event(self, frame: link.Event) -> None:
        if frame.sequence <= self._last_sequence:
            self._wire.send(_ack(self._last_sequence))
            return
        self._last_sequence = frame.sequence
        named = translate.event(self.agreed, frame)
        event = (
            None
            if named is None
            else self._event(
                pb.EVENT_KIND_EVENT,
                capability=named.capability,
                name=named.name,
                fields=codec.values_to_proto(named.fields),
                boot_id=self.facts.boot_id,
                sequence=frame.sequence,
                dropped=frame.dropped,
            )
        )
        self._push(event, ack=frame.sequence)

    def _event(self, kind: pb.EventKind.ValueType, **fields: object) -> pb.DeviceEvent:
        stamp = codec.timestamp(self._clock.now())
        return pb.DeviceEvent(device_id=self.device_id, kind=kind, time=stamp, **fields)  # type: ignore[arg-type]

    def _push(self, event: pb.DeviceEvent | None, ack: int = 0) -> None:
        self._outbox.append(Outgoing(event, ack))
        if len(self._outbox) >= OUTBOX_LIMIT and not self._paused:
            self._paused = True
            self._wire.pause(True)

    def peek(self) -> Outgoing | None:
        """What the stream is to be told next; it stays until `stored`."""
        return self._outbox[0] if self._outbox else None

    def stored(self) -> None:
        """The stream has what `peek` gave: it is acknowledged, and the link read again if it was not."""
        sent = self._outbox.popleft()
        if sent.ack and not self.ended:
            self._wire.send(_ack(sent.ack))
        if self._paused and len(self._outbox) < OUTBOX_LIMIT // 2:
            self._paused = False
            self._wire.pause(False)

    def close(self, code: link.GoodbyeCode.ValueType, message: str, reconnect_after_ms: int = 0) -> None:
        """Says goodbye and ends."""
        goodbye = link.Goodbye(code=code, message=message[:120], reconnect_after_ms=reconnect_after_ms)
        self._wire.close(link.Frame(goodbye=goodbye))
        self.end(message)

    def end(self, reason: str) -> None:
        """The link is gone: calls in flight end with outcome unknown. Harmless when repeated."""
        if self.ended:
            return
        self.ended, self.end_reason = True, reason
        calls, self._calls = self._calls, {}
        for call_id, waiting in calls.items():
            if not waiting.answer.done():
                waiting.answer.set_exception(OutcomeUnknownError(self.device_id, call_id))
                waiting.answer.exception()  # marked as seen, even if its caller has left

    def offline_event(self, now: datetime) -> pb.DeviceEvent:
        """What the stream is told at the end."""
        return pb.DeviceEvent(
            device_id=self.device_id,
            kind=pb.EVENT_KIND_OFFLINE,
            time=codec.timestamp(now),
            reason=self.end_reason,
            session_id=self.session_id,
        )


def _ack(sequence: int) -> link.Frame:
    return link.Frame(event_ack=link.EventAck(sequence=sequence))
