"""Carries twins between the sessions here and the registry.

One request a session is under way at a time; what is said meanwhile goes together with the next. A registry that is
away is asked again for as long as the session lives, and neither ends it nor holds anything else of it up.
"""

from __future__ import annotations

import asyncio
import logging
import random

from services.domain.errors import YggError
from services.domain.twin import Path
from services.domain.values import Value
from services.jotunheim_bridge.ports import Desired, TwinReport, Twins
from services.jotunheim_bridge.service.session import Session
from services.jotunheim_bridge.service.twin import PendingReport
from yggdrasil.device.v1 import link_pb2 as link

RETRY_S = 0.25
MAX_RETRY_S = 15.0
REPORT_INTERVAL_S = 0.1
"""From the registry's answer to the next request of the same session."""
BUSY_RETRY_S = 1.0
"""How long a device that had too much to do is left alone."""
MAX_CONCURRENT_REPORTS = 32
"""Requests of all sessions together."""
_STALE = "STALE_SESSION"
_log = logging.getLogger(__name__)


class TwinSync:
    """The sessions' way to the registry's twins."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins
        self._running: dict[Session, asyncio.Task[None]] = {}
        self._retry_scheduled: set[Session] = set()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REPORTS)

    def flush(self, session: Session) -> None:
        """Takes up what the device has said of its twin."""
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
        """What is desired of the device has changed."""
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
                    if e.reason == _STALE:
                        return  # a later session has taken over, and this one hears of it
                    if wait_s == RETRY_S:
                        _log.warning("twin report failed", extra={"device": session.device_id, "why": e.message})
                    twin.on_report_failed(due)
                    await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311 - it spreads load, it guards nothing
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
        """Gives up what is under way: whoever takes over the devices has everything reported anew."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _send(session: Session, frames: list[link.Frame]) -> None:
    for frame in frames:
        session.wire.send(frame)
