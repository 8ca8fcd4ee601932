"""Renews device certificates before they expire, over their sessions.

        IDLE ──close to expiry──► WANTED ──CertificateRequest──► REQUESTED ──response of the registry──► IDLE
              CertificateExpiring                                           CertificateIssued

If a device does not answer or the registry is unavailable, a line is logged: the current certificate stays in use until
it expires, and the next attempt is RETRY_INTERVAL_S later or in the next session.
"""

from __future__ import annotations

import asyncio
import logging

from services.chassis.logs import Throttle
from services.domain.errors import InvalidRequestError, YggError
from services.jotunheim_bridge.errors import cut
from services.jotunheim_bridge.model import certificate as rules
from services.jotunheim_bridge.ports import Certificates, Clock
from services.jotunheim_bridge.service.certificate import DeviceRenewal
from services.jotunheim_bridge.service.session import Session
from yggdrasil.device.v1 import link_pb2 as link

CHECK_INTERVAL_S = 60.0
"""Interval between checks of a session, in seconds."""
REQUEST_TIMEOUT_S = 60.0
"""Time that a device has for its certificate request, in seconds."""
RETRY_INTERVAL_S = 3600.0
"""Interval between attempts in the same session, in seconds."""
MAX_CONCURRENT_REQUESTS = 8
"""Requests to the registry from all sessions: certificates that were issued in one hour expire in one hour."""
_log = logging.getLogger(__name__)
_throttle = Throttle()


class Renewals:
    """Connects sessions to the device CA."""

    def __init__(self, certificates: Certificates, clock: Clock) -> None:
        self._certificates, self._clock = certificates, clock
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._tasks: set[asyncio.Task[None]] = set()

    def check(self, session: Session) -> None:
        """Ask the device for a certificate request if a renewal is due. Cheap: called once a second per session."""
        renewal = session.renewal
        now_s = self._clock.monotonic()
        if renewal is None or now_s < renewal.next_check_s or session.ended:
            return
        if renewal.awaiting_request:
            _throttle.log(_log, logging.WARNING, "certificate request timed out", device=session.device_id)
            renewal.next_check_s = now_s + RETRY_INTERVAL_S
        elif not renewal.busy and self._clock.now().timestamp() >= renewal.due_unix_s:
            renewal.awaiting_request, renewal.next_check_s = True, now_s + REQUEST_TIMEOUT_S
            session.wire.send(link.Frame(certificate_expiring=link.CertificateExpiring()))
        else:
            renewal.next_check_s = now_s + CHECK_INTERVAL_S

    def flush(self, session: Session) -> None:
        """Process the request that a device has sent."""
        renewal = session.renewal
        if renewal is None or not renewal.request or renewal.busy or session.ended:
            return
        renewal.busy = True
        request, renewal.request = renewal.request, b""
        task = asyncio.get_running_loop().create_task(self._renew(session, renewal, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self, session: Session, renewal: DeviceRenewal, request: bytes) -> None:
        try:
            frames = await self._answer(session, renewal, request)
        except YggError as e:
            _throttle.log(_log, logging.WARNING, "certificate renewal failed", device=session.device_id, why=e.message)
            frames = [link.Frame(certificate_issued=link.CertificateIssued(message=cut(e.message)))]
        finally:
            renewal.busy, renewal.next_check_s = False, self._clock.monotonic() + RETRY_INTERVAL_S
        if not session.ended:
            for frame in frames:
                session.wire.send(frame)

    async def _answer(self, session: Session, renewal: DeviceRenewal, request: bytes) -> list[link.Frame]:
        async with self._slots:
            issued = await self._certificates.renew(session.device_id, renewal.certificate, request)
        both = issued.certificate + issued.issuer
        if len(both) > rules.MAX_ISSUED_BYTES:
            raise InvalidRequestError(f"the certificates have {len(both)} bytes, at most {rules.MAX_ISSUED_BYTES} fit")
        renewal.replace(issued.certificate, self._clock.now().timestamp(), issued.expires_unix_s)
        _log.info("certificate renewed", extra={"device": session.device_id, "expires": int(issued.expires_unix_s)})
        return rules.slices(both, session.facts.link.device_rx_frame_bytes)

    async def stop(self) -> None:
        """Cancel pending renewals: the next bridge asks the device again."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
