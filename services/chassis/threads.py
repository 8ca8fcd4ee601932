"""Blocking functions in threads, ended before their caller goes on: what they use can be closed then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns or raises. A cancelled caller is told once the thread has ended, never before.

    With asyncio.to_thread it would go on at once, and close a file or a database that the thread still uses: a crash
    of the process, or bytes written to whatever has the number of the file by then.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))  # noqa: TID251 - this is what to use
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as e:
            cancelled = e
    if cancelled is not None:
        running.exception()  # looked at, so that nothing is logged about it
        raise cancelled
    return running.result()
