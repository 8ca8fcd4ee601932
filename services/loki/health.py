"""The health of Loki's dependencies: the registry, the bridge, its workers, the devices."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.domain.errors import YggError
from services.loki.model import Language
from services.loki.ports import DeviceQuery, DeviceSummary, Engine, Mesh

TIMEOUT_S = 5.0


class Health(enum.Enum):
    """The state of a component."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Component:
    """A component; `kind` is registry, bridge, worker or device."""

    kind: str
    id: str
    health: Health
    note: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The status of all components, and the number of devices."""

    components: tuple[Component, ...]
    devices: int
    online: int


class HealthTree:
    """The components of a Loki service."""

    def __init__(self, mesh: Mesh, engines: Mapping[Language, Engine], workers: int) -> None:
        """`workers`: the desired number for each language."""
        self._mesh, self._engines, self._workers = mesh, engines, workers

    async def report(self, selector: str, device_limit: int) -> HealthReport:
        """Return the health of all components now. A failed component is reported, not raised."""
        bridge = await self._bridge()
        try:
            devices = await self._mesh.devices(DeviceQuery(selector=selector), TIMEOUT_S)
        except YggError as e:
            registry = Component("registry", "registry", Health.DOWN, e.message)
            return HealthReport((registry, bridge, *self._engine_components()), 0, 0)
        online = sum(device.online for device in devices)
        registry = Component("registry", "registry", Health.OK, f"{len(devices)} devices")
        shown = [_device(device) for device in devices[:device_limit]]
        return HealthReport((registry, bridge, *self._engine_components(), *shown), len(devices), online)

    async def _bridge(self) -> Component:
        try:
            sessions = await self._mesh.sessions(TIMEOUT_S)
        except YggError as e:
            return Component("bridge", "jotunheim_bridge", Health.DOWN, e.message)
        return Component("bridge", "jotunheim_bridge", Health.OK, f"{sessions} sessions")

    def _engine_components(self) -> Sequence[Component]:
        found = []
        for language, engine in self._engines.items():
            status = engine.status()
            whole = status.workers >= self._workers
            health = Health.OK if whole else Health.DEGRADED if status.workers else Health.DOWN
            note = (
                status.problem
                or f"{status.workers} of {max(status.workers, self._workers)} up; {status.version}; {status.sandbox}"
            )
            found.append(Component("worker", language.value, health, note))
        return found


def _device(device: DeviceSummary) -> Component:
    note = " ".join(part for part in (device.model, device.firmware) if part)
    return Component("device", device.id, Health.OK if device.online else Health.DOWN, note)
