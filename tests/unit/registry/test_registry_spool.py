"""The spool of a backup: in order, each key once; and a cancelled backup closes nothing that is in use."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

from services.registry.adapters.spool import Spool


async def test_rows_are_ordered_and_later_record_replaces_earlier(tmp_path: Path) -> None:
    with contextlib.closing(Spool(tmp_path)) as spool:
        await spool.put([("b", 1, b"1"), ("a", 1, b"2"), ("b", 1, b"3"), ("gone", 1, b"4"), ("gone", 2, None)])
        assert [row async for row in spool.rows()] == [("a", 1, b"2"), ("b", 1, b"3")]
        assert await spool.count() == 2


async def test_cancelled_backup_closes_file_after_its_thread(tmp_path: Path) -> None:
    spool, loop = Spool(tmp_path), asyncio.get_running_loop()
    writing, may_go_on = asyncio.Event(), threading.Event()

    def statement(_: str) -> None:
        loop.call_soon_threadsafe(writing.set)
        may_go_on.wait(20)

    async def backup() -> None:
        with contextlib.closing(spool):
            spool._db.set_trace_callback(statement)
            await spool.put([("a", 1, b"x")])

    task = asyncio.ensure_future(backup())
    await writing.wait()
    task.cancel()
    closed_in_between, _ = await asyncio.wait([task], timeout=0.1)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not closed_in_between
