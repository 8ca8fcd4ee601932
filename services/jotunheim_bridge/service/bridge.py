"""The sessions of this bridge, from a new link to its end, and their events on the way to the stream.

Owns the table of live sessions and the tasks that drain their outboxes. A device has at most one session in the mesh: a
newer one replaces the older, on any bridge. Calls are in `calls`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

from services.chassis import codec
from services.chassis.errors import StoreUnavailableError
from services.domain.errors import YggError
from services.jotunheim_bridge.errors import HelloRefusedError, LinkError
from services.jotunheim_bridge.ports import Clock, DeviceFacts, EventSink, SessionStore, Wire
from services.jotunheim_bridge.service.access import AccessCache
from services.jotunheim_bridge.service.negotiator import Negotiator, Receive
from services.jotunheim_bridge.service.ota import OtaRelay
from services.jotunheim_bridge.service.refusals import Refusals
from services.jotunheim_bridge.service.renewal import Renewals
from services.jotunheim_bridge.service.session import EVENT_WINDOW, Session
from services.jotunheim_bridge.service.twins import TwinSync
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

STORE_RETRY_S = 0.5
"""Delay between retries of a write, in seconds."""
STORE_TIMEOUT_S = 30.0
"""How long writes to the store are retried, in seconds."""
UNDO_TIMEOUT_S = 3.0
"""How long a stop waits for pending undo of claims, in seconds; later ones expire with the lease."""
_log = logging.getLogger(__name__)


class Bridge:
    """The live sessions."""

    def __init__(
        self,
        negotiator: Negotiator,
        sessions: SessionStore,
        events: EventSink,
        clock: Clock,
        twins: TwinSync,
        updates: OtaRelay,
        renewals: Renewals,
    ) -> None:
        self._negotiator, self._store, self._events, self._clock = negotiator, sessions, events, clock
        self.twins, self.updates, self.renewals = twins, updates, renewals
        self._sessions: dict[str, Session] = {}
        self._access = AccessCache()
        self._refusals = Refusals(clock)
        self._tasks: set[asyncio.Task[None]] = set()

    def session(self, device_id: str) -> Session | None:
        """Return the live session of a device on this bridge, or None."""
        return self._sessions.get(device_id)

    async def attach(self, device_id: str, wire: Wire, receive: Receive) -> Session | None:
        """Negotiate a new link; return None if it was refused, with the link closed."""
        with self._access.negotiating(device_id):
            session = await self._negotiated(device_id, wire, receive)
            if session is not None:
                self._begin(session)
        return session

    async def _negotiated(self, device_id: str, wire: Wire, receive: Receive) -> Session | None:
        try:
            return await self._negotiator.negotiate(device_id, wire, receive)
        except HelloRefusedError as e:
            wire.close(link.Frame(refused=e.frame()))
            if self._refusals.should_publish(device_id, e.message):
                _log.warning("device refused", extra={"device": device_id, "peer": wire.peer, "why": e.message})
                self._spawn(self._publish_refusal(device_id, e.message))
            return None
        except LinkError as e:
            _log.info("link ended", extra={"device": device_id, "peer": wire.peer, "why": e.message})
            wire.close(link.Frame(goodbye=e.frame()))
            return None

    async def _publish_refusal(self, device_id: str, reason: str) -> None:
        """Publish why a device was refused; not retried, since the device reconnects."""
        event = pb.DeviceEvent(
            device_id=device_id,
            kind=pb.EVENT_KIND_REFUSED,
            time=codec.timestamp(self._clock.now()),
            reason=reason,
        )
        try:
            await self._events.publish([event])
        except YggError as e:
            _log.warning("refusal publish failed", extra={"device": device_id, "why": e.message})

    def _begin(self, session: Session) -> None:
        device_id, older = session.device_id, self._sessions.get(session.device_id)
        if older is not None:
            self.replace(older)
        self._sessions[device_id] = session
        contract = session.agreed.contract
        facts = {
            "revision": contract.revision,
            "accepted": len(contract.capabilities),
            "refused": len(contract.refused),
        }
        _log.info("device online", extra={"device": device_id, "session": session.session_id, **facts})
        self.flush(session)
        self._end_if_denied(session)
        self.renewals.check(session)

    def tracks(self, device_id: str) -> bool:
        """Return whether changes of a device matter to this bridge. Called for every device in the mesh."""
        return device_id in self._sessions or self._access.tracks(device_id)

    def on_device_changed(self, device_id: str, facts: DeviceFacts) -> None:
        """Cache a changed device record; end the device's session if its access is now denied."""
        self._access.put(device_id, facts)
        session = self._sessions.get(device_id)
        if session is not None:
            self._end_if_denied(session)

    def _end_if_denied(self, session: Session) -> None:
        why = self._access.denied_reason(session.device_id, session.wire.certified_unix_s)
        if why:
            session.denied = self._access.denied_state(session.device_id)
            self._close(session, link.GOODBYE_CODE_DISCONNECTED, why)

    def flush(self, session: Session) -> None:
        """Process pending work of a session: its outbox, twin, update, certificate request, capability update."""
        self.twins.flush(session)
        self.updates.flush(session)
        self.renewals.flush(session)
        if session.draining is None and session.busy:
            session.draining = self._spawn(self._drain(session))
        if session.update is not None and session.pages is not None and not session.updating:
            session.updating = True
            self._spawn(self._renegotiate(session))

    def replace(self, older: Session) -> None:
        """End a session because a newer one of the device exists, here or on another bridge."""
        older.close(link.GOODBYE_CODE_REPLACED, "a newer session of this device took over")
        self._finish(older)

    def detach(self, session: Session, reason: str) -> None:
        """End a session after its link was closed."""
        session.end(reason)
        self._finish(session)

    def _finish(self, session: Session) -> None:
        if self._sessions.get(session.device_id) is session:
            del self._sessions[session.device_id]
        if not session.finished:
            session.finished = True
            _log.info("device offline", extra={"device": session.device_id, "why": session.end_reason})
            self._spawn(self._end(session))

    async def _renegotiate(self, session: Session) -> None:
        try:
            changes = await self._negotiator.renegotiate(session)
        except LinkError as e:
            self._close(session, e.code, e.message)
            return
        except HelloRefusedError as e:
            inactive = e.code == link.REFUSED_CODE_NOT_ACTIVE
            code = link.GOODBYE_CODE_DISCONNECTED if inactive else link.GOODBYE_CODE_PROTOCOL_ERROR
            self._close(session, code, e.message)
            return
        except YggError as e:  # the registry failed, not the device: it may reconnect
            self._close(session, link.GOODBYE_CODE_SHUTDOWN, e.message, _spread_ms(2000))
            return
        finally:
            session.updating = False
        _log.info("contract changed", extra={"device": session.device_id, "changes": str(changes)})
        self.flush(session)

    def _close(
        self, session: Session, code: link.GoodbyeCode.ValueType, message: str, reconnect_after_ms: int = 0
    ) -> None:
        session.close(code, message, reconnect_after_ms)
        self._finish(session)

    async def _drain(self, session: Session) -> None:
        try:
            while session.busy:
                telemetry = session.take_telemetry()
                if telemetry:
                    await self._events.publish_unacknowledged(telemetry)
                    session.telemetry_done()
                outgoing = session.peek(EVENT_WINDOW)
                events = [one.event for one in outgoing if one.event is not None]
                await self._with_retries(lambda events=events: self._events.publish(events))  # type: ignore[misc]
                session.stored(len(outgoing))
        except StoreUnavailableError:  # unacknowledged events are sent again after the reconnect
            self._close(session, link.GOODBYE_CODE_SHUTDOWN, "events cannot be stored now", _spread_ms(2000))
        finally:
            session.draining = None

    async def _end(self, session: Session) -> None:
        self.flush(session)
        if session.draining is not None:
            await asyncio.wait([session.draining])  # `offline` is the last event of a session
        try:
            await self._with_retries(lambda: self._release(session))
        except StoreUnavailableError as e:  # the session ends when the lease of this bridge expires
            _log.warning("session release failed", extra={"device": session.device_id, "why": e.message})

    async def _release(self, session: Session) -> None:
        if session.released is None:
            session.released = await self._store.release(session.claim)
        if session.released:
            await self._events.publish([session.offline_event(self._clock.now())])

    async def _with_retries(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        until = self._clock.monotonic() + STORE_TIMEOUT_S
        while True:
            try:
                await work()
                return
            except StoreUnavailableError:
                if self._clock.monotonic() > until:
                    raise
                await asyncio.sleep(STORE_RETRY_S)

    async def reclaim_all(self) -> None:
        """Claim every session again: the lease of this bridge had expired, and other bridges may have ended them."""
        for session in list(self._sessions.values()):
            current = await self._store.get(session.device_id)
            if current is not None and current.session_id != session.session_id:
                self.replace(session)
            elif current is None:
                session.claim = await self._store.claim(session.facts)
                session.announce(None)
                self.flush(session)

    def on_claimed_elsewhere(self, current: pb.Session) -> None:
        """End our session of a device if another bridge has claimed a newer one."""
        session = self._sessions.get(current.device_id)
        if session is None or not current.online or current.session_id == session.session_id:
            return
        if current.epoch > session.claim.session.epoch:
            self.replace(session)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, others: list[str], reconnect_within_ms: int = 1000) -> None:
        """Say goodbye to every device, redirect it to one of `others` (HOST:PORT) if any, and wait for the end."""
        for session in list(self._sessions.values()):
            where = random.choice(others) if others else ""  # noqa: S311 - load spreading, not security
            after_ms = _spread_ms(reconnect_within_ms)
            session.close(link.GOODBYE_CODE_SHUTDOWN, "the bridge restarts", after_ms, where)
            self._finish(session)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.twins.stop()
        await self.updates.stop()
        await self.renewals.stop()
        await self._negotiator.claims.settled(UNDO_TIMEOUT_S)


def _spread_ms(within_ms: int) -> int:
    return random.randint(within_ms // 4, within_ms)  # noqa: S311 - load spreading, not security
