"""Use cases of callers: call one device or many, get and list sessions, watch events.

Every call is checked against the contract by the bridge that owns the session; other bridges route it there. A call
that was first sent to another boot of the device is never sent again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from services.domain import ids
from services.domain.access import ACTIVE
from services.domain.contract import LinkTerms
from services.domain.errors import InvalidRequestError, YggError
from services.domain.values import Value, check
from services.jotunheim_bridge.errors import (
    DeviceNotActiveError,
    DeviceOfflineError,
    NoSessionError,
    OtherBootError,
    UnknownDeviceError,
)
from services.jotunheim_bridge.model import translate
from services.jotunheim_bridge.model.calls import DeviceCall
from services.jotunheim_bridge.ports import EventSink, Registry, Router, SessionStore, Targets, Watch
from services.jotunheim_bridge.service.bridge import Bridge
from services.jotunheim_bridge.service.call_table import Prepare
from services.jotunheim_bridge.service.session import Session
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

DEFAULT_TIMEOUT_S = 10.0
MAX_TIMEOUT_S = 300.0
"""Longer timeouts are reduced to this."""
MAX_REMEMBERED_CALLS = 10_000
"""Bounds the memory of call ids; older ones may be sent to another boot."""

Results = dict[str, Value]


class BootMemory:
    """The boot to which each of the last MAX_REMEMBERED_CALLS call ids was first sent."""

    def __init__(self) -> None:
        self._boots: OrderedDict[tuple[str, str], str] = OrderedDict()

    def first(self, device_id: str, call_id: str, boot_id: str) -> str:
        """Return the boot that the call was first sent to; `boot_id` if this is the first time."""
        found = self._boots.setdefault((device_id, call_id), boot_id)
        if len(self._boots) > MAX_REMEMBERED_CALLS:
            self._boots.popitem(last=False)
        return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one of many calls."""

    device_id: str
    call_id: str
    results: Results = field(default_factory=dict)
    error: YggError | None = None


@dataclass(frozen=True, slots=True)
class Mesh:
    """Dependencies of calls besides the bridge."""

    registry: Registry
    sessions: SessionStore
    events: EventSink
    router: Router


class Calls:
    """Use cases. `new_call_id` makes ids for callers that give none."""

    def __init__(self, bridge: Bridge, mesh: Mesh, new_call_id: Callable[[], str]) -> None:
        self._bridge, self._mesh, self._new_call_id = bridge, mesh, new_call_id
        self._boots = BootMemory()

    async def call(self, call: DeviceCall, timeout_s: float) -> tuple[Results, str]:
        """Call a device on whichever bridge owns its session; return the results by name and the call id."""
        given, call = bool(call.call_id), self._checked(call)
        timeout_s = _bounded(timeout_s)
        session = self._bridge.session(call.device_id)
        if session is None:
            bridge_id = await self._bridge_of(call.device_id)
            return await self._mesh.router.call(bridge_id, call, timeout_s), call.call_id
        return await self._local(session, call, given, timeout_s), call.call_id

    async def call_here(self, call: DeviceCall, timeout_s: float) -> Results:
        """Process a call that another bridge routed here; it is not routed on."""
        session = self._bridge.session(call.device_id)
        if session is None:
            raise DeviceOfflineError(call.device_id)
        return await self._local(session, call, True, _bounded(timeout_s))

    async def stream(self, call: DeviceCall, timeout_s: float) -> AsyncIterator[tuple[Results, str]]:
        """Call a streamed action on whichever bridge owns the session; yield each response's results and call id."""
        call, timeout_s = self._checked(call), _bounded(timeout_s)
        if self._bridge.session(call.device_id) is not None:
            answers = self.stream_here(call, timeout_s)
        else:
            answers = self._mesh.router.stream(await self._bridge_of(call.device_id), call, timeout_s)
        async for results in answers:
            yield results, call.call_id

    async def stream_here(self, call: DeviceCall, timeout_s: float) -> AsyncIterator[Results]:
        """Call a streamed action of a session on this bridge; it is not routed on."""
        session = self._bridge.session(call.device_id)
        if session is None:
            raise DeviceOfflineError(call.device_id)
        prepare = self._prepare(session, call, remember=True)
        async for results in session.calls.stream(prepare, session.wire.send, call.call_id, _bounded(timeout_s)):
            yield results

    async def call_many(
        self, targets: Targets, template: DeviceCall, concurrency: int, timeout_s: float
    ) -> AsyncIterator[Outcome]:
        """Call every target, at most `concurrency` at a time; yield outcomes as they arrive."""
        finished: asyncio.Queue[Outcome | None] = asyncio.Queue(concurrency)
        slots = asyncio.Semaphore(concurrency)

        async def one(device_id: str) -> None:
            try:
                await finished.put(await self._outcome(replace(template, device_id=device_id), timeout_s))
            finally:
                slots.release()

        async def call_all() -> None:
            async with asyncio.TaskGroup() as tasks:
                async for device_id in self._targets(targets):
                    await slots.acquire()
                    tasks.create_task(one(device_id))
            await finished.put(None)

        running = asyncio.create_task(call_all())
        try:
            while (outcome := await _next(finished, running)) is not None:
                yield outcome
        finally:
            running.cancel()

    async def _outcome(self, call: DeviceCall, timeout_s: float) -> Outcome:
        call = replace(call, call_id=self._new_call_id())
        try:
            results, call_id = await self.call(call, timeout_s)
        except YggError as e:
            return Outcome(call.device_id, call.call_id, error=e)
        return Outcome(call.device_id, call_id, results)

    async def _targets(self, targets: Targets) -> AsyncIterator[str]:
        named = {ids.device_id(device_id, "device_ids") for device_id in targets.device_ids}
        for device_id in sorted(named):
            yield device_id
        if not targets.selector:
            return
        async for device_id in self._mesh.registry.matching(targets):
            if device_id not in named:
                yield device_id

    def _checked(self, call: DeviceCall) -> DeviceCall:
        for value in call.arguments.values():
            check(value)
        return call.checked(self._new_call_id())

    async def _local(self, session: Session, call: DeviceCall, given: bool, timeout_s: float) -> Results:
        prepare = self._prepare(session, call, remember=given)
        return await session.calls.call(prepare, session.wire.send, call.call_id, timeout_s)

    def _prepare(self, session: Session, call: DeviceCall, remember: bool) -> Prepare:
        def prepare() -> tuple[translate.LinkCall, LinkTerms]:
            link_call = translate.link_call(session.agreed, call)
            boot_id = session.facts.boot_id
            first = self._boots.first(call.device_id, call.call_id, boot_id) if remember else boot_id
            if boot_id != first or (call.boot_id and boot_id != call.boot_id):
                raise OtherBootError(call.device_id, call.call_id, call.boot_id or first, boot_id)
            return link_call, session.facts.link

        return prepare

    async def _bridge_of(self, device_id: str) -> str:
        current = await self._mesh.sessions.get(device_id)
        if current is not None and current.bridge_id != self._mesh.sessions.bridge_id:
            return current.bridge_id
        if current is None:
            known = await self._mesh.registry.device(device_id)
            if known is None:
                raise UnknownDeviceError(device_id)
            if known.state != ACTIVE:
                raise DeviceNotActiveError(device_id, known.state)
        raise DeviceOfflineError(device_id)

    async def get_session(self, device_id: str) -> pb.Session:
        """Return the live session of a device, from whichever bridge owns it. Raises NoSessionError."""
        session = await self._mesh.sessions.get(ids.device_id(device_id))
        if session is None:
            raise NoSessionError(device_id)
        return session

    async def list_sessions(self, after: str, limit: int) -> tuple[Sequence[pb.Session], str]:
        """Return live sessions of all bridges, ordered by device id, and the token of the next page."""
        devices, token = await self._mesh.registry.online(after, limit)
        found = await asyncio.gather(*(self._mesh.sessions.get(device_id) for device_id in devices))
        return [session for session in found if session is not None], token

    async def watch(self, device_ids: Collection[str], kinds: Collection[int], after: int | None) -> Watch:
        """Return events after that sequence of the stream (None: now); empty collections select all."""
        return await self._mesh.events.watch(
            [ids.device_id(device_id, "device_ids") for device_id in device_ids], kinds, after
        )

    async def disconnect(self, device_id: str) -> str:
        """End a device's session on whichever bridge owns it; return its id."""
        session = self._bridge.session(ids.device_id(device_id))
        if session is None:
            current = await self.get_session(device_id)
            await self._mesh.router.disconnect(current.bridge_id, device_id)
            return current.session_id
        session.close(link.GOODBYE_CODE_DISCONNECTED, "an administrator ended the session")
        self._bridge.detach(session, "disconnected by an administrator")
        return session.session_id


def _bounded(timeout_s: float) -> float:
    if not timeout_s > 0:
        raise InvalidRequestError(f"the timeout is {timeout_s} s, it must be more than 0")
    return min(timeout_s, MAX_TIMEOUT_S)


async def _next(finished: asyncio.Queue[Outcome | None], running: asyncio.Task[None]) -> Outcome | None:
    waiting = asyncio.ensure_future(finished.get())
    try:
        await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done() and running.done():
            running.result()  # raises its exception
        return await waiting
    finally:
        waiting.cancel()
