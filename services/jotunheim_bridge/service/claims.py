"""Claims that are undone if their negotiation fails.

A negotiation may end while its claim is being written, and a store may accept a claim and lose the response: the
session would stay online without a link until the bridge itself ends. Such claims are undone here.
"""

from __future__ import annotations

import asyncio
import logging

from services.chassis.errors import StoreUnavailableError
from services.jotunheim_bridge.ports import Claim, SessionFacts, SessionStore

RETRY_S = 0.5
"""Initial and maximum backoff of undoing a claim, in seconds."""
MAX_RETRY_S = 8.0
_log = logging.getLogger(__name__)


class Claims:
    """Claims of a SessionStore."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._undoing: set[asyncio.Task[None]] = set()

    async def claim(self, facts: SessionFacts) -> Claim:
        """Like SessionStore.claim; a claim that fails or is cancelled leaves no session, however late it is written."""
        claiming = asyncio.ensure_future(self._store.claim(facts))
        try:
            return await asyncio.shield(claiming)
        except (asyncio.CancelledError, StoreUnavailableError):
            undoing = asyncio.get_running_loop().create_task(self._undo(claiming, facts))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            raise

    async def _undo(self, claiming: asyncio.Future[Claim], facts: SessionFacts) -> None:
        await asyncio.wait([claiming])
        if not claiming.cancelled():
            claiming.exception()  # mark as retrieved: the store has the outcome
        wait_s = RETRY_S
        while True:
            try:
                await self._store.abandon(facts)
            except StoreUnavailableError as e:
                _log.warning("claim undo failed", extra={"device": facts.device_id, "why": e.message})
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, MAX_RETRY_S)
            else:
                return

    async def settled(self, within_s: float) -> None:
        """Wait until all claims are undone, for at most `within_s` seconds."""
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=within_s)
