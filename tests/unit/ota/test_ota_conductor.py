"""The conductor's work on many devices: side by side, but not all at once, and one that fails stops none beside it."""

from __future__ import annotations

import asyncio

import pytest

from services.domain.errors import Code, YggError
from services.ota.service.conductor import MAX_CONCURRENT_WRITES, _each

DEVICES = [f"d-{index}" for index in range(3 * MAX_CONCURRENT_WRITES + 1)]


class LostError(YggError):
    """The error of an unavailable store."""

    code, reason = Code.UNAVAILABLE, "LOST"


async def test_tasks_run_concurrently_up_to_a_bound() -> None:
    running, most, done = 0, 0, list[str]()

    async def work(device_id: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(device_id)

    await _each(DEVICES, work)
    assert done == DEVICES
    assert most == MAX_CONCURRENT_WRITES


async def test_failed_task_is_raised_and_stops_no_other() -> None:
    done = list[str]()

    async def work(device_id: str) -> None:
        await asyncio.sleep(0)
        if device_id == "d-1":
            raise LostError("the store is away")
        done.append(device_id)

    with pytest.raises(LostError):
        await _each(DEVICES, work)
    assert done == [device for device in DEVICES[:MAX_CONCURRENT_WRITES] if device != "d-1"]


async def test_a_stop_is_not_swallowed() -> None:
    task = asyncio.create_task(_each(DEVICES, lambda _: asyncio.sleep(3600)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
