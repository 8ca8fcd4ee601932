"""Blocking functions in threads that end before their caller continues, so that it can close what they use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of the function, or raise its exception. A cancellation is raised only after the thread has
    ended.

    With asyncio.to_thread a cancelled caller would continue at once, and close a file or a database that the thread
    still uses: the process would crash, or bytes would be written to another file that has reused the descriptor.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))  # noqa: TID251 - the only permitted use
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as e:
            cancelled = e
    if cancelled is not None:
        running.exception()  # retrieved, so that asyncio does not log it
        raise cancelled
    return running.result()
