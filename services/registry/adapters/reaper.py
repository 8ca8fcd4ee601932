"""Ends the sessions of dead bridges: a session lives only as long as its bridge's lease.

Every replica checks; compare-and-set on the session's key ensures that only one ends it and publishes `offline`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from nats.js import JetStreamContext

from services.chassis import cloudevents, codec, records
from services.chassis.buckets import BRIDGE_LEASE_S, SESSIONS
from services.chassis.errors import RevisionConflictError, StoreUnavailableError
from services.chassis.kv import Bucket
from services.chassis.nats import convert_errors
from services.domain import subjects
from services.registry.adapters.index import SqliteIndex
from services.registry.ports import Clock
from yggdrasil.jotunheim.v1 import bridge_pb2

SWEEP_PERIOD_S = 1.0
"""Interval between sweeps, in seconds: well below BRIDGE_LEASE_S."""
_PAGE = 500
"""Maximum sessions of a bridge that are ended in one sweep."""
_log = logging.getLogger(__name__)


class Reaper:
    """Sweeps once a second until cancelled. `connected_s` returns how long NATS has been connected, in seconds."""

    def __init__(
        self,
        js: JetStreamContext,
        sessions: Bucket,
        bridges: Bucket,
        index: SqliteIndex,
        clock: Clock,
        connected_s: Callable[[], float],
    ) -> None:
        self._js, self._sessions, self._bridges, self._index = js, sessions, bridges, index
        self._clock, self._connected_s = clock, connected_s
        self._renewed: dict[str, tuple[int, float]] = {}

    async def run(self) -> None:
        """Sweep periodically. No bridge can renew during a NATS outage, so none is dead until two leases after it."""
        while True:
            await asyncio.sleep(SWEEP_PERIOD_S)
            if self._connected_s() < 2 * BRIDGE_LEASE_S:
                continue
            try:
                await self.sweep()
            except StoreUnavailableError as e:
                self._renewed.clear()  # no bridge could renew: each gets a full lease again
                _log.info("sweep postponed", extra={"why": e.message})

    async def sweep(self) -> int:
        """End the sessions of every bridge without a lease; return their number."""
        ended = 0
        for bridge_id in await self._index.online_bridges():
            if await self._is_alive(bridge_id):
                continue
            for device_id in await self._index.sessions_of(bridge_id, _PAGE):
                ended += await self._end(device_id, bridge_id)
        return ended

    async def _is_alive(self, bridge_id: str) -> bool:
        """Return whether the bridge has renewed its lease within BRIDGE_LEASE_S of this process's monotonic clock.

        NATS expires the key by its wall clock: a step forward drops the leases of live bridges, a step back keeps those
        of dead ones. Therefore the time of the last new revision counts, as seen here.
        """
        entry, now_s = await self._bridges.get(bridge_id), self._clock.monotonic()
        revision, since_s = self._renewed.get(bridge_id, (-1, 0.0))
        if revision < 0 or (entry is not None and entry.revision != revision):
            self._renewed[bridge_id] = entry.revision if entry else 0, now_s
            return True
        return now_s - since_s <= BRIDGE_LEASE_S

    async def _end(self, device_id: str, bridge_id: str) -> int:
        entry = await self._sessions.get(device_id)
        parse = bridge_pb2.StoredSession.FromString
        stored = records.try_decode(SESSIONS.name, device_id, entry.value, parse) if entry else None
        if entry is None or stored is None or not stored.session.online or stored.session.bridge_id != bridge_id:
            return 0
        session, now = stored.session, self._clock.now()
        session.online = False
        session.disconnect_time.FromDatetime(now)
        try:
            await self._sessions.update(device_id, stored.SerializeToString(), entry.revision)
        except RevisionConflictError:
            return 0  # the device has reconnected, or another replica was first
        await self._publish_offline(session, now)
        _log.info("session expired", extra={"device": device_id, "bridge": bridge_id})
        return 1

    async def _publish_offline(self, session: bridge_pb2.Session, now: datetime) -> None:
        event = bridge_pb2.DeviceEvent(
            device_id=session.device_id,
            kind=bridge_pb2.EVENT_KIND_OFFLINE,
            time=codec.timestamp(now),
            reason="its bridge died",
            session_id=session.session_id,
        )
        subject = subjects.device(session.device_id, subjects.Kind.OFFLINE)
        headers = cloudevents.headers(
            event_id=f"{session.session_id}/offline", source="registry", subject=session.device_id, body=event, time=now
        )
        with convert_errors("the event stream"):
            await self._js.publish(subject, event.SerializeToString(), headers=headers)
