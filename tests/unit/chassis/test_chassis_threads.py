"""A cancelled caller of in_thread goes on only when the thread has ended."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.chassis.threads import in_thread


async def test_result_and_exception_of_function_pass_through() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_repeatedly_cancelled_caller_waits_for_thread(fails: bool) -> None:
    began, may_end, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        assert may_end.wait(20)
        ended.set()
        if fails:
            raise OSError("the disk")

    caller = asyncio.ensure_future(in_thread(work))
    await began.wait()
    for _ in range(3):
        caller.cancel()
        done, _ = await asyncio.wait([caller], timeout=0.02)
        assert not done
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
