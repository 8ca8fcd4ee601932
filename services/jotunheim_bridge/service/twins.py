"""Synchronizes twins between sessions and the registry.

A session has one request in flight; later reports are merged into the next. If the registry is unavailable, requests
are retried for the life of the session and delay nothing else of it.
"""

from __future__ import annotations

import asyncio
import logging
import random

from services.domain.errors import Reason, YggError
from services.domain.twin import Path
from services.domain.values import Value
from services.jotunheim_bridge.ports import Desired, TwinReport, Twins
from services.jotunheim_bridge.service.session import Session
from services.jotunheim_bridge.service.twin import PendingReport
from yggdrasil.device.v1 import link_pb2 as link

RETRY_S = 0.25
MAX_RETRY_S = 15.0
"""Maximum backoff of a failed report, in seconds."""
REPORT_INTERVAL_S = 0.1
"""Delay between a response of the registry and the next request of the same session, in seconds."""
BUSY_RETRY_S = 1.0
"""Delay before a busy device gets its delta again, in seconds."""
MAX_CONCURRENT_REPORTS = 32
"""Requests in flight of all sessions."""
_log = logging.getLogger(__name__)


class TwinSync:
    """Connects sessions to the registry's twins."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins
        self._running: dict[Session, asyncio.Task[None]] = {}
        self._retry_scheduled: set[Session] = set()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REPORTS)

    def flush(self, session: Session) -> None:
        """Send the pending report of a session, and schedule retries for a busy device."""
        twin = session.twin
        if twin is None or session.ended:
            return
        if twin.has_retries and session not in self._retry_scheduled:
            self._retry_scheduled.add(session)
            asyncio.get_running_loop().call_later(BUSY_RETRY_S, self._retry, session)
        if session not in self._running:
            due = twin.take_report()
            if due is not None:
                self._running[session] = asyncio.get_running_loop().create_task(self._run(session, due))

    def _retry(self, session: Session) -> None:
        self._retry_scheduled.discard(session)
        if session.twin is not None and not session.ended:
            _send(session, session.twin.retries())

    def on_desired(self, session: Session, now: Desired) -> None:
        """Send a changed desired state to the device."""
        if session.twin is not None and not session.ended:
            _send(session, session.twin.on_desired(now))

    async def _run(self, session: Session, first: PendingReport) -> None:
        due: PendingReport | None = first
        twin, wait_s = session.twin, RETRY_S
        try:
            while twin is not None and due is not None and not session.ended:
                try:
                    revision, delta = await self._report(session, due)
                except YggError as e:
                    if e.reason == Reason.STALE_SESSION:
                        return  # a later session has taken over; this one is about to end
                    if wait_s == RETRY_S:
                        _log.warning("twin report failed", extra={"device": session.device_id, "why": e.message})
                    twin.on_report_failed(due)
                    await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311 - load spreading, not security
                    wait_s = min(2 * wait_s, MAX_RETRY_S)
                else:
                    wait_s = RETRY_S
                    _send(session, twin.on_reported(due, revision, delta))
                    await asyncio.sleep(REPORT_INTERVAL_S)
                due = twin.take_report()
        finally:
            del self._running[session]

    async def _report(self, session: Session, due: PendingReport) -> tuple[int, dict[Path, Value]]:
        report = TwinReport(
            session.device_id,
            due.contract_revision,
            session.claim.session.epoch,
            due.properties,
            due.answers,
            due.complete,
        )
        async with self._slots:
            return await self._twins.report(report)

    async def stop(self) -> None:
        """Cancel pending requests: the device reports everything again to the next bridge."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _send(session: Session, frames: list[link.Frame]) -> None:
    for frame in frames:
        session.wire.send(frame)
