"""What Loki needs from outside: the mesh, a place to publish, engines with their workers, a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.domain.capability import Capability
from services.domain.values import Value
from services.loki.model import EngineStatus, Language, Level, Script


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> datetime:
        """UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; the event loop's own."""


@dataclass(frozen=True, slots=True)
class DeviceQuery:
    """Which devices: capabilities and labels that all must be there; `online` None means either."""

    has: tuple[str, ...] = ()
    selector: str = ""
    online: bool | None = None


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """A device in short; `has` maps capability ids to `type@version`."""

    id: str
    online: bool
    model: str = ""
    firmware: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    has: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TwinSummary:
    """A twin in short: documents from capability to property to value; `revision` is that of the desired state."""

    revision: int
    desired: Mapping[str, Value] = field(default_factory=dict)
    reported: Mapping[str, Value] = field(default_factory=dict)
    delta: Mapping[str, Value] = field(default_factory=dict)


class Mesh(Protocol):
    """Devices, through the registry and the bridge. Raises a YggError with the peer's own code and reason.

    `timeout_s` bounds each call, in seconds.
    """

    async def devices(self, query: DeviceQuery, timeout_s: float) -> Sequence[DeviceSummary]:
        """Return devices ordered by id."""

    async def device(self, device_id: str, timeout_s: float) -> DeviceSummary:
        """Return one device."""

    async def sessions(self, timeout_s: float) -> int:
        """Return the number of connected devices."""

    async def capabilities(self, device_id: str, timeout_s: float) -> Sequence[Capability]:
        """Return the capabilities of the device's contract."""

    async def call(
        self, device_id: str, capability: str, action: str, arguments: Mapping[str, Value], timeout_s: float
    ) -> dict[str, Value]:
        """Run an action; return its results by name."""

    async def read(self, device_id: str, capability: str, prop: str, timeout_s: float) -> Value:
        """Read a property from the device."""

    async def write(self, device_id: str, capability: str, prop: str, value: Value, timeout_s: float) -> None:
        """Write a property."""

    async def twin(self, device_id: str, timeout_s: float) -> TwinSummary:
        """Return the device's twin."""

    async def update_twin(self, device_id: str, desired: Mapping[str, Value], timeout_s: float) -> TwinSummary:
        """Merge into the desired state at any revision; a property that is None is removed."""


class Publisher(Protocol):
    """Publishes messages of scripts."""

    async def publish(self, program: str, topic: Sequence[str], value: Value, spelled: str = "") -> None:
        """Publish on `ygg.v1.main.loki.<program>.message.<topic>`; raise PublishError.

        `spelled` is the topic as the script wrote it, if that differs.
        """


class Host(Protocol):
    """The host of one run."""

    async def ask(self, operation: str, arguments: Sequence[Value]) -> Value:
        """Perform an operation of docs/reference/scripting.md; raise the YggError that the script receives."""

    def log(self, level: Level, text: str) -> None:
        """A line of the log; raises ScriptError (OUTPUT) past the limit."""

    def spend_output(self, size_bytes: int) -> None:
        """Count output; raise ScriptError (OUTPUT) above the limit."""

    @property
    def waiting_for(self) -> str:
        """Return the pending operation in words, or ""."""


class Worker(Protocol):
    """A worker process, leased for one run."""

    async def run(self, script: Script, host: Host) -> Value:
        """Run the script in fresh globals; raise ScriptError. Ends within the timeout and a grace period."""


class Engine(Protocol):
    """A language's worker processes."""

    language: Language

    def status(self) -> EngineStatus:
        """Return whether it can run scripts now."""

    def worker(self) -> AbstractAsyncContextManager[Worker]:
        """Return a worker for one run; raise EngineMissingError or EngineBusyError."""
