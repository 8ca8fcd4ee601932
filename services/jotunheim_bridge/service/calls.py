"""What callers can do: call devices, look at sessions, watch events. Every call is checked against the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from services.domain import ids
from services.domain.values import Value, check
from services.jotunheim_bridge.errors import DeviceOfflineError, NoSessionError, UnknownDeviceError
from services.jotunheim_bridge.model import translate
from services.jotunheim_bridge.model.negotiation import Agreement
from services.jotunheim_bridge.model.translate import LinkCall
from services.jotunheim_bridge.ports import EventSink, Registry, SessionStore
from services.jotunheim_bridge.service.bridge import Bridge
from services.jotunheim_bridge.service.session import Session
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

DEFAULT_TIMEOUT_S = 10.0
MAX_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Calls:
    """Use cases. `new_call_id` makes ids for callers that give none."""

    bridge: Bridge
    registry: Registry
    sessions: SessionStore
    events: EventSink
    new_call_id: Callable[[], str]

    async def invoke(
        self,
        device_id: str,
        capability: str,
        action: str,
        arguments: Mapping[str, Value],
        call_id: str,
        timeout_s: float,
    ) -> tuple[dict[str, Value], str]:
        """Runs an action; returns its results and the call's id."""
        for value in arguments.values():
            check(value)
        return await self._call(
            device_id, lambda agreed: translate.action_call(agreed, capability, action, arguments), call_id, timeout_s
        )

    async def read(self, device_id: str, capability: str, name: str, timeout_s: float) -> Value:
        """Reads a property from the device itself."""
        found, _ = await self._call(
            device_id, lambda agreed: translate.read_call(agreed, capability, name), "", timeout_s
        )
        return found[name]

    async def write(
        self, device_id: str, capability: str, name: str, value: Value, call_id: str, timeout_s: float
    ) -> str:
        """Writes a property; returns the call's id."""
        _, used = await self._call(
            device_id, lambda agreed: translate.write_call(agreed, capability, name, check(value)), call_id, timeout_s
        )
        return used

    async def _call(
        self, device_id: str, make: Callable[[Agreement], LinkCall], call_id: str, timeout_s: float
    ) -> tuple[dict[str, Value], str]:
        used = ids.call_id(call_id) if call_id else self.new_call_id()
        session = await self._session(device_id)
        return await session.call(make(session.agreed), used, min(timeout_s, MAX_TIMEOUT_S)), used

    async def _session(self, device_id: str) -> Session:
        session = self.bridge.session(ids.device_id(device_id))
        if session is None:
            if await self.registry.state(device_id) is None:
                raise UnknownDeviceError(device_id)
            raise DeviceOfflineError(device_id)
        return session

    async def get_session(self, device_id: str) -> pb.Session:
        """The live session of a device, whichever bridge holds it. Raises NoSessionError."""
        session = await self.sessions.get(ids.device_id(device_id))
        if session is None:
            raise NoSessionError(device_id)
        return session

    async def list_sessions(self, after: str, limit: int) -> tuple[Sequence[pb.Session], str]:
        """Live sessions of all bridges, ordered by device id, and the next page's token."""
        devices, token = await self.registry.online(after, limit)
        found = [await self.sessions.get(device_id) for device_id in devices]
        return [session for session in found if session is not None], token

    def watch(self, device_ids: Collection[str], kinds: Collection[int]) -> AsyncIterator[pb.DeviceEvent]:
        """Events from now on; empty collections mean all."""
        return self.events.watch([ids.device_id(device_id) for device_id in device_ids], kinds)

    async def disconnect(self, device_id: str) -> str:
        """Ends a device's session; returns its id."""
        session = self.bridge.session(ids.device_id(device_id))
        if session is None:
            raise NoSessionError(device_id)
        session.close(link.GOODBYE_CODE_DISCONNECTED, "an administrator ended the session")
        self.bridge.detach(session, "disconnected by an administrator")
        return session.session_id
