"""The sessions of this bridge: from a new link to its end, and their events on the way to the stream.

Owns the table of live sessions and the tasks that drain their outboxes. A device has at most one session here: the
newer one replaces the older. Calls are in `calls`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any

from services.chassis.errors import StoreUnavailableError
from services.jotunheim_bridge.errors import HelloRefusedError, LinkError
from services.jotunheim_bridge.ports import Clock, EventSink, SessionStore, Wire
from services.jotunheim_bridge.service.negotiator import Negotiator, Receive
from services.jotunheim_bridge.service.session import Session
from yggdrasil.device.v1 import link_pb2 as link

STORE_RETRY_S = 0.5
STORE_PATIENCE_S = 30.0
_log = logging.getLogger(__name__)


class Bridge:
    """The live sessions."""

    def __init__(self, negotiator: Negotiator, sessions: SessionStore, events: EventSink, clock: Clock) -> None:
        self._negotiator, self._store, self._events, self._clock = negotiator, sessions, events, clock
        self._sessions: dict[str, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def session(self, device_id: str) -> Session | None:
        """The live session of a device here, or None."""
        return self._sessions.get(device_id)

    def count(self) -> int:
        """How many sessions are live here."""
        return len(self._sessions)

    async def attach(self, device_id: str, wire: Wire, receive: Receive) -> Session | None:
        """Negotiates a new link; None where it was refused, and then the link is closed already."""
        try:
            session = await self._negotiator.negotiate(device_id, wire, receive)
        except HelloRefusedError as e:
            _log.info("device refused", extra={"device": device_id, "peer": wire.peer, "why": e.message})
            wire.close(link.Frame(refused=_refused(e)))
            return None
        except LinkError as e:
            _log.info("link ended", extra={"device": device_id, "peer": wire.peer, "why": e.message})
            wire.close(link.Frame(goodbye=link.Goodbye(code=e.code, message=e.message[:120])))  # type: ignore[arg-type]
            return None
        older = self._sessions.get(device_id)
        if older is not None:
            older.close(link.GOODBYE_CODE_REPLACED, "a newer session of this device took over")
            self._finish(older)
        self._sessions[device_id] = session
        contract = session.agreed.contract
        facts = {
            "revision": contract.revision,
            "accepted": len(contract.capabilities),
            "refused": len(contract.refused),
        }
        _log.info("device online", extra={"device": device_id, "session": session.session_id, **facts})
        self.kick(session)
        return session

    def kick(self, session: Session) -> None:
        """Starts draining the session's outbox unless that is under way or it is empty."""
        if session.draining is None and session.peek() is not None:
            session.draining = self._spawn(self._drain(session))

    def detach(self, session: Session, reason: str) -> None:
        """The link is gone."""
        session.end(reason)
        self._finish(session)

    def _finish(self, session: Session) -> None:
        if self._sessions.get(session.device_id) is session:
            del self._sessions[session.device_id]
        if not session.finished:
            session.finished = True
            _log.info("device offline", extra={"device": session.device_id, "why": session.end_reason})
            self._spawn(self._end(session))

    async def _drain(self, session: Session) -> None:
        try:
            while (outgoing := session.peek()) is not None:
                if outgoing.event is not None:
                    await self._patiently(self._events.publish, outgoing.event)
                session.stored()
        except StoreUnavailableError:  # unacknowledged, so the device sends them again when it is back
            session.close(link.GOODBYE_CODE_SHUTDOWN, "events cannot be stored now", _spread_ms(2000))
            self._finish(session)
        finally:
            session.draining = None

    async def _end(self, session: Session) -> None:
        self.kick(session)
        if session.draining is not None:
            await asyncio.wait([session.draining])  # `offline` comes after all else of the session
        try:
            await self._patiently(self._release, session)
        except StoreUnavailableError as e:  # the lease of this bridge will run out with it
            _log.warning("session not released", extra={"device": session.device_id, "why": e.message})

    async def _release(self, session: Session) -> None:
        if await self._store.release(session.claim):
            await self._events.publish(session.offline_event(self._clock.now()))

    async def _patiently(self, work: Any, argument: Any) -> None:
        until = self._clock.monotonic() + STORE_PATIENCE_S
        while True:
            try:
                await work(argument)
                return
            except StoreUnavailableError:
                if self._clock.monotonic() > until:
                    raise
                await asyncio.sleep(STORE_RETRY_S)

    async def reassert(self) -> None:
        """Claims every session again, after this bridge's lease had run out and others may have ended them."""
        for session in list(self._sessions.values()):
            current = await self._store.get(session.device_id)
            if current is not None and current.session_id != session.session_id:
                session.close(link.GOODBYE_CODE_REPLACED, "a newer session of this device took over")
                self._finish(session)
            elif current is None:
                session.claim = await self._store.claim(session.facts)
                session.announce(contract_changed=False)
                self.kick(session)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, reconnect_within_ms: int = 1000) -> None:
        """Says goodbye to every device and waits until its session is released; for a graceful stop."""
        for session in list(self._sessions.values()):
            session.close(link.GOODBYE_CODE_SHUTDOWN, "the bridge restarts", _spread_ms(reconnect_within_ms))
            self._finish(session)
        while self._tasks:
            await asyncio.wait(self._tasks)


def _spread_ms(within_ms: int) -> int:
    return random.randint(within_ms // 4, within_ms)  # noqa: S311 - it spreads load, it guards nothing


def _refused(error: HelloRefusedError) -> link.Refused:
    return link.Refused(
        code=error.code,  # type: ignore[arg-type]
        message=error.message.encode()[:127].decode(errors="ignore"),
        retry_after_ms=error.retry_after_ms,
        protocol_min=1,
        protocol_max=1,
    )
