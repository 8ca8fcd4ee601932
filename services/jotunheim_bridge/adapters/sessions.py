"""The port SessionStore on the bucket `sessions`, and the lease of this bridge in the bucket `bridges`.

The epoch of a device's session only grows, by compare-and-set; heartbeats never write here. Only the lease is
renewed, one key a bridge.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.js import JetStreamContext

from services.chassis import codec, records
from services.chassis.buckets import BRIDGE_LEASE_S, BRIDGES, SESSIONS
from services.chassis.errors import RevisionConflictError, StoreUnavailableError
from services.chassis.kv import Bucket, Entry
from services.chassis.streams import follow, last_sequence
from services.jotunheim_bridge.ports import Claim, Clock, SessionFacts
from services.jotunheim_bridge.service.bridge import Bridge
from yggdrasil.common.v1 import contract_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

SCHEMA = 1
MAX_PREVIOUS_BOOTS = 4
"""Boot ids kept to detect two devices with one identity."""
RENEW_INTERVAL_S = BRIDGE_LEASE_S / 3
_log = logging.getLogger(__name__)


class KvSessionStore:
    """Sessions of this bridge, `bridge_id`."""

    def __init__(self, bucket: Bucket, bridge_id: str, clock: Clock) -> None:
        self.bridge_id = bridge_id
        self._bucket, self._clock = bucket, clock

    async def claim(self, facts: SessionFacts) -> Claim:
        """Make this bridge the owner of the session under the next epoch."""
        while True:
            entry = await self._bucket.get(facts.device_id)
            before = _previous_session(entry) if entry else pb.Session()
            session = self._session(facts, before)
            value = pb.StoredSession(schema=SCHEMA, session=session).SerializeToString()
            try:
                if entry is None:
                    return Claim(session, await self._bucket.create_key(facts.device_id, value))
                return Claim(session, await self._bucket.update(facts.device_id, value, entry.revision))
            except RevisionConflictError:
                continue  # a concurrent session of the device won; the later claim takes over

    def _session(self, facts: SessionFacts, before: pb.Session) -> pb.Session:
        terms: contract_pb2.LinkTerms = codec.terms_to_proto(facts.link)
        session = pb.Session(
            device_id=facts.device_id,
            session_id=facts.session_id,
            bridge_id=self.bridge_id,
            epoch=before.epoch + 1,
            boot_id=facts.boot_id,
            connect_time=codec.timestamp(self._clock.now()),
            link=terms,
            peer=facts.peer,
            online=True,
            negotiation_ms=facts.negotiation_ms,
        )
        if facts.certificate_expires_unix_s:
            session.certificate_expire_time.FromSeconds(int(facts.certificate_expires_unix_s))
        boots = [before.boot_id, *before.previous_boot_ids] if before.boot_id else []
        session.previous_boot_ids.extend([boot for boot in boots if boot != facts.boot_id][:MAX_PREVIOUS_BOOTS])
        if facts.boot_id in before.previous_boot_ids and facts.boot_id != before.boot_id:
            # Boot ids are random and never come back: two devices alternate under one identity.
            session.identity_conflict_time.CopyFrom(session.connect_time)
            session.identity_conflict_peer = before.peer
            _log.warning(
                "identity conflict detected",
                extra={"device": facts.device_id, "peer": facts.peer, "other": before.peer},
            )
        return session

    async def release(self, claim: Claim) -> bool:
        """End the session; return False if a newer session or another writer has changed the key since."""
        session = pb.Session()
        session.CopyFrom(claim.session)
        session.online = False
        session.disconnect_time.FromDatetime(self._clock.now())
        value = pb.StoredSession(schema=SCHEMA, session=session).SerializeToString()
        try:
            await self._bucket.update(session.device_id, value, claim.revision)
        except RevisionConflictError:
            return False
        return True

    async def abandon(self, facts: SessionFacts) -> None:
        """End the session if it exists."""
        entry = await self._bucket.get(facts.device_id)
        session = _session_of(facts.device_id, entry.value) if entry else None
        if entry and session and session.online and session.session_id == facts.session_id:
            await self.release(Claim(session, entry.revision))

    async def get(self, device_id: str) -> pb.Session | None:
        """Return the live session, or None."""
        entry = await self._bucket.get(device_id)
        session = _session_of(device_id, entry.value) if entry else None
        return session if session is not None and session.online else None


def _session_of(device_id: str, data: bytes) -> pb.Session | None:
    stored = records.try_decode(SESSIONS.name, device_id, data, pb.StoredSession.FromString)
    return stored.session if stored is not None else None


def _previous_session(entry: Entry) -> pb.Session:
    """Return the session of a record; for an unreadable one, its revision as the epoch, which no epoch exceeds."""
    session = _session_of(entry.key, entry.value)
    return session if session is not None else pb.Session(epoch=entry.revision)


async def fence(js: JetStreamContext, bridge: Bridge) -> None:
    """End sessions of devices that another bridge has claimed since, until cancelled."""
    start = len(SESSIONS.subject(""))
    async for batch in follow(js, SESSIONS.stream, after=await last_sequence(js, SESSIONS.stream)):
        for record in batch:
            session = None if record.deleted else _session_of(record.subject[start:], record.data)
            if session is not None:
                bridge.on_claimed_elsewhere(session)


async def other_links(bridges: Bucket, bridge_id: str) -> list[str]:
    """Return HOST:PORT of the other live bridges that advertise one; empty if NATS does not answer."""
    try:
        entries = [await bridges.get(key) for key in await bridges.keys() if key != bridge_id]
    except StoreUnavailableError:
        return []
    parse = pb.StoredBridge.FromString
    found = [records.try_decode(BRIDGES.name, entry.key, entry.value, parse) for entry in entries if entry is not None]
    return [bridge.link for bridge in found if bridge is not None and bridge.link]


class Lease:
    """Keeps the lease of this bridge; calls `on_expired` after a renewal that came too late."""

    def __init__(
        self, bucket: Bucket, record: pb.StoredBridge, clock: Clock, on_expired: Callable[[], Awaitable[None]]
    ) -> None:
        self._bucket, self._record, self._clock, self._on_expired = bucket, record, clock, on_expired
        self._renewed_s = 0.0

    async def acquire(self) -> None:
        """Write the lease; raises StoreUnavailableError."""
        await self._bucket.put(self._record.bridge_id, self._record.SerializeToString())
        self._renewed_s = self._clock.monotonic()

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(RENEW_INTERVAL_S)
            try:
                expired = self._clock.monotonic() - self._renewed_s > BRIDGE_LEASE_S
                await self.acquire()
                if expired:
                    _log.warning("lease expired", extra={"bridge": self._record.bridge_id})
                    await self._on_expired()
            except StoreUnavailableError as e:
                _log.warning("lease renewal failed", extra={"why": e.message})

    async def release(self) -> None:
        """Delete the lease, for a graceful stop."""
        try:
            await self._bucket.delete(self._record.bridge_id)
        except StoreUnavailableError as e:
            _log.warning("lease release failed", extra={"why": e.message})
