"""Claims that nobody is left behind by.

A negotiation may end while its claim is being written, and a store may take a claim and lose the answer: either way a
session would be online that no link stands behind, until the bridge itself ends. What was begun is undone here.
"""

from __future__ import annotations

import asyncio
import logging

from services.chassis.errors import StoreUnavailableError
from services.jotunheim_bridge.ports import Claim, SessionFacts, SessionStore

RETRY_S = 0.5
MAX_RETRY_S = 8.0
_log = logging.getLogger(__name__)


class Claims:
    """Claims by way of a SessionStore."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._undoing: set[asyncio.Task[None]] = set()

    async def claim(self, facts: SessionFacts) -> Claim:
        """As SessionStore.claim; one that fails or is cancelled leaves no session, however late it was written."""
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
            claiming.exception()  # seen: what became of it, the store itself says
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
        """Returns once all is undone, or after so many seconds."""
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=within_s)
