"""Calls in flight of one session: sent, answered once or more, timed out, or lost with the link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from services.domain import ids
from services.domain.contract import LinkTerms
from services.domain.errors import YggError
from services.domain.values import Value
from services.jotunheim_bridge.errors import (
    CallDeadlineError,
    CallTooLargeError,
    DeviceBusyError,
    DeviceLateError,
    DeviceOfflineError,
    DeviceRefusedError,
    OutcomeUnknownError,
    ResultError,
    SlowCallerError,
    TooManyCallsError,
)
from services.jotunheim_bridge.model import translate
from services.jotunheim_bridge.model.translate import LinkCall
from yggdrasil.device.v1 import link_pb2 as link

MAX_PARTIAL_ANSWERS = 64
"""Responses of a streamed call waiting for their caller."""
_REFUSALS: dict[int, type[YggError]] = {
    link.RESULT_STATUS_BUSY: DeviceBusyError,
    link.RESULT_STATUS_DEADLINE: DeviceLateError,
}
Send = Callable[[link.Frame], None]
Prepare = Callable[[], tuple[LinkCall, LinkTerms]]
"""Checks a call against the current contract; returns it with the terms of that contract."""


@dataclass(slots=True)
class _PendingCall:
    last: asyncio.Future[link.Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    partial: asyncio.Queue[link.Result] | None = None
    callers: int = 0
    streamed: bool = False

    def fail(self, error: Exception) -> None:
        if not self.last.done():
            self.last.set_exception(error)
            self.last.exception()  # mark as retrieved, even if the caller is gone


class CallTable:
    """Calls by id. A call with an id already in flight shares the response of the first."""

    __slots__ = ("_boot_id", "_device_id", "_ended", "_free", "_waiting")

    def __init__(self, device_id: str, boot_id: str) -> None:
        self._device_id, self._boot_id = device_id, boot_id
        self._waiting: dict[str, _PendingCall] = {}
        self._ended = False
        self._free: asyncio.Event | None = None

    def pause(self) -> None:
        """Delay new calls until `resume`, while the contract changes."""
        self._free = asyncio.Event()

    def resume(self) -> None:
        """Continue delayed calls."""
        if self._free is not None:
            self._free.set()
            self._free = None

    def answer(self, result: link.Result) -> bool:
        """Process a result of the device; return False, and drop it, if no call waits for it any more."""
        waiting = self._waiting.get(result.call_id)
        if waiting is None or waiting.last.done():
            return False
        if not result.more or result.status != link.RESULT_STATUS_OK:  # a failure always ends the call
            waiting.last.set_result(result)
        elif not waiting.streamed:
            waiting.fail(ResultError(f"{self._device_id} announced more answers, but the action is not streamed"))
        elif waiting.partial is not None:
            if waiting.partial.full():
                waiting.fail(SlowCallerError(self._device_id, MAX_PARTIAL_ANSWERS))
            else:
                waiting.partial.put_nowait(result)
        return True

    def end(self) -> None:
        """Fail all calls because the link is closed."""
        self._ended = True
        self.resume()
        waiting, self._waiting = self._waiting, {}
        for call_id, one in waiting.items():
            one.fail(OutcomeUnknownError(self._device_id, call_id, self._boot_id))

    async def call(self, prepare: Prepare, send: Send, call_id: str, timeout_s: float) -> dict[str, Value]:
        """Send a call and return its final results by name.

        Raises whatever `prepare` raises, TooManyCallsError and CallTooLargeError (nothing was sent), CallDeadlineError,
        OutcomeUnknownError, DeviceRefusedError and its subclasses, ResultError.
        """
        try:
            async with asyncio.timeout(timeout_s):
                link_call, waiting = await self._begin(prepare, send, call_id, timeout_s)
                try:
                    answer = await asyncio.shield(waiting.last)
                finally:
                    self._leave(call_id, waiting)
        except TimeoutError as e:
            raise CallDeadlineError(self._device_id, call_id, self._boot_id, timeout_s) from e
        return self._results(link_call, answer)

    async def stream(
        self, prepare: Prepare, send: Send, call_id: str, timeout_s: float
    ) -> AsyncIterator[dict[str, Value]]:
        """Send a call of a streamed action and yield the results of each response, the final one last."""
        try:
            async with asyncio.timeout(timeout_s):
                link_call, waiting = await self._begin(prepare, send, call_id, timeout_s)
                waiting.partial = waiting.partial or asyncio.Queue(MAX_PARTIAL_ANSWERS)
                try:
                    async for answer in _answers(waiting.partial, waiting.last):
                        yield self._results(link_call, answer)
                finally:
                    self._leave(call_id, waiting)
        except TimeoutError as e:
            raise CallDeadlineError(self._device_id, call_id, self._boot_id, timeout_s) from e

    async def _begin(
        self, prepare: Prepare, send: Send, call_id: str, timeout_s: float
    ) -> tuple[LinkCall, _PendingCall]:
        until = asyncio.get_running_loop().time() + timeout_s
        while self._free is not None:
            await self._free.wait()
        if self._ended:
            raise DeviceOfflineError(self._device_id)
        link_call, terms = prepare()
        waiting = self._waiting.get(call_id)
        if waiting is None:
            if len(self._waiting) >= terms.calls_in_flight:
                raise TooManyCallsError(self._device_id, terms.calls_in_flight)
            left_ms = int((until - asyncio.get_running_loop().time()) * 1000)
            frame = link_call.frame(call_id, max(1, left_ms))
            if frame.ByteSize() > terms.device_rx_frame_bytes:
                raise CallTooLargeError(self._device_id, frame.ByteSize(), terms.device_rx_frame_bytes)
            send(frame)
            waiting = self._waiting[call_id] = _PendingCall(streamed=link_call.streamed)
        waiting.callers += 1
        return link_call, waiting

    def _leave(self, call_id: str, waiting: _PendingCall) -> None:
        waiting.callers -= 1
        if not waiting.callers and self._waiting.get(call_id) is waiting:
            del self._waiting[call_id]

    def _results(self, link_call: LinkCall, answer: link.Result) -> dict[str, Value]:
        if answer.status == link.RESULT_STATUS_OK:
            return translate.results(link_call, answer)
        status = link.ResultStatus.Name(answer.status) if answer.status in link.ResultStatus.values() else "UNKNOWN"
        status = status.removeprefix("RESULT_STATUS_")
        detail = ids.printable(answer.message) or status.lower()
        kind = _REFUSALS.get(answer.status, DeviceRefusedError)
        raise kind(f"{self._device_id} refused {link_call.where}: {detail}", device=self._device_id, status=status)


async def _answers(
    partial: asyncio.Queue[link.Result], last: asyncio.Future[link.Result]
) -> AsyncIterator[link.Result]:
    while True:
        more = asyncio.ensure_future(partial.get())
        try:
            await asyncio.wait([more, last], return_when=asyncio.FIRST_COMPLETED)
            if more.done():
                yield more.result()
                continue
        finally:
            more.cancel()
        while not partial.empty():
            yield partial.get_nowait()
        yield last.result()
        return
