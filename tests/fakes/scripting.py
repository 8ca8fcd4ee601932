"""What scripts act on, in memory: devices that keep their state and check their contract, and a box for messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from services.domain.arguments import check_arguments, check_value
from services.domain.capability import Action, Capability, Event, Parameter, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms
from services.domain.errors import Reason, YggError
from services.domain.matcher import match
from services.domain.requirements import parse_requirement
from services.domain.selectors import parse_selector
from services.domain.values import Value
from services.loki.errors import PublishError
from services.loki.ports import DeviceQuery, DeviceSummary, TwinSummary

BOOL, TEXT = Schema(ValueType.BOOL), Schema(ValueType.STRING, max_length=32)
PERCENT = Schema(ValueType.INT, "%", 0, 100)
LED = Capability(
    "led0",
    "actuator.led",
    1,
    (Property("on", BOOL, True, True, False), Property("brightness", PERCENT, True, True, False)),
    (
        Action(
            "blink",
            (
                Parameter("times", Schema(ValueType.INT, "", 1, 20), False),
                Parameter("period_ms", Schema(ValueType.INT, "ms", 50, 5000), True),
            ),
            (Parameter("count", Schema(ValueType.INT), False),),
        ),
    ),
    (Event("failed", (Parameter("code", Schema(ValueType.INT), False),)),),
)
TEMPERATURE = Capability(
    "temp0", "sensor.temperature", 2, (Property("celsius", Schema(ValueType.DOUBLE, "Cel"), True, False, True),), (), ()
)
HUMIDITY = Capability(
    "hum0", "sensor.humidity", 1, (Property("percent", Schema(ValueType.DOUBLE, "%"), True, False, True),), (), ()
)
MEMO = Capability(
    "memo0",
    "store.memo",
    1,
    (
        Property("text", TEXT, True, True, False),
        Property("raw", Schema(ValueType.BYTES, max_length=32), True, True, False),
        Property("level", Schema(ValueType.DOUBLE), True, True, False),
    ),
    (),
    (),
)


class NoSuchDeviceError(YggError, reason=Reason.DEVICE_NOT_FOUND):
    """As the registry says it."""


class OfflineError(YggError, reason=Reason.DEVICE_OFFLINE):
    """As the bridge says it."""


class TooManyCallsError(YggError, reason=Reason.CALLS_IN_FLIGHT):
    """As the bridge says it."""


class FakeDevice:
    """A device with a contract and a state; `state` maps `led0.on` to its value."""

    def __init__(self, device_id: str, *capabilities: Capability, online: bool = True, **labels: str) -> None:
        terms = LinkTerms(1, 1024, 1024, 2, 1000)
        self.contract = Contract(device_id, "", capabilities, (), terms, "fake")
        self.online, self.labels = online, labels
        self.state: dict[str, Value] = {"led0.on": False, "led0.brightness": 100, "temp0.celsius": 23.5}
        self.state |= {"hum0.percent": 41.0, "memo0.text": "", "memo0.raw": b"", "memo0.level": 0.0}
        self.blinks = self.revision = 0
        self.desired: dict[str, dict[str, Value]] = {}

    def summary(self) -> DeviceSummary:
        """In short."""
        has = {c.id: f"{c.type}@{c.version}" for c in self.contract.capabilities}
        return DeviceSummary(self.contract.device_id, self.online, "fake", "1.0.0", self.labels, has)


class FakeMesh:
    """Implements services.loki.ports.Mesh."""

    def __init__(self, *devices: FakeDevice) -> None:
        self.fleet = {device.contract.device_id: device for device in devices}
        self.timeouts: list[float] = []
        self.calls_in_flight = 1000
        self._reads = 0
        self.hanging = False

    def add(self, device: FakeDevice) -> FakeDevice:
        """Makes a device known."""
        self.fleet[device.contract.device_id] = device
        return device

    def _known(self, device_id: str, timeout_s: float) -> FakeDevice:
        self.timeouts.append(timeout_s)
        if device_id not in self.fleet:
            raise NoSuchDeviceError(f"there is no device {device_id}", hint="See: ygg device ls")
        return self.fleet[device_id]

    async def _reached(self, device_id: str, timeout_s: float) -> FakeDevice:
        device = self._known(device_id, timeout_s)
        if not device.online:
            raise OfflineError(f"{device_id} is offline; nothing was sent")
        if self.hanging:
            await asyncio.Event().wait()
        return device

    async def devices(self, query: DeviceQuery, timeout_s: float) -> Sequence[DeviceSummary]:
        """Those that meet the query, by id."""
        wanted, selector = [parse_requirement(text) for text in query.has], parse_selector(query.selector)
        return [
            device.summary()
            for _, device in sorted(self.fleet.items())
            if query.online in (None, device.online)
            and selector.matches(device.labels)
            and all(match(w, device.contract.capabilities).capability_id for w in wanted)
        ]

    async def device(self, device_id: str, timeout_s: float) -> DeviceSummary:
        """One device."""
        return self._known(device_id, timeout_s).summary()

    async def sessions(self, timeout_s: float) -> int:
        """Those that are online."""
        return sum(device.online for device in self.fleet.values())

    async def capabilities(self, device_id: str, timeout_s: float) -> Sequence[Capability]:
        """What its contract holds."""
        return self._known(device_id, timeout_s).contract.capabilities

    async def call(
        self, device_id: str, capability: str, action: str, arguments: Mapping[str, Value], timeout_s: float
    ) -> dict[str, Value]:
        """Checked as the bridge does; `blink` counts."""
        device = await self._reached(device_id, timeout_s)
        found = device.contract.action(capability, action)
        given = check_arguments(f"{capability}.{action}", found.arguments, arguments)
        times = given["times"]
        assert isinstance(times, int)
        device.blinks += times
        return {"count": device.blinks}

    async def read(self, device_id: str, capability: str, prop: str, timeout_s: float) -> Value:
        """From the device's state."""
        device = await self._reached(device_id, timeout_s)
        device.contract.readable(capability, prop)
        if self._reads >= self.calls_in_flight:
            raise TooManyCallsError(f"{device_id} has {self._reads} calls in flight")
        self._reads += 1
        try:
            await asyncio.sleep(0)
            return device.state[f"{capability}.{prop}"]
        finally:
            self._reads -= 1

    async def write(self, device_id: str, capability: str, prop: str, value: Value, timeout_s: float) -> None:
        """Into the device's state."""
        device = await self._reached(device_id, timeout_s)
        found = device.contract.writable(capability, prop)
        device.state[f"{capability}.{prop}"] = check_value(f"{capability}.{prop}", found.schema, value)

    async def twin(self, device_id: str, timeout_s: float) -> TwinSummary:
        """The desired state of `update_twin`, and the board's state as the reported one."""
        device = self._known(device_id, timeout_s)
        reported: dict[str, dict[str, Value]] = {}
        for capability in device.contract.capabilities:
            for prop in capability.properties:
                reported.setdefault(capability.id, {})[prop.name] = device.state[f"{capability.id}.{prop.name}"]
        delta: dict[str, Value] = {}
        for capability_id, wanted in device.desired.items():
            left = {name: v for name, v in wanted.items() if reported[capability_id][name] != v}
            if left:
                delta[capability_id] = {**left}
        desired: dict[str, Value] = {name: {**wanted} for name, wanted in device.desired.items()}
        return TwinSummary(device.revision, desired, {name: {**state} for name, state in reported.items()}, delta)

    async def update_twin(self, device_id: str, desired: Mapping[str, Value], timeout_s: float) -> TwinSummary:
        """Checked against the contract; a device that is online acts at once."""
        device = self._known(device_id, timeout_s)
        for capability, wanted in desired.items():
            assert isinstance(wanted, dict)
            for name, value in wanted.items():
                checked = check_value(f"{capability}.{name}", device.contract.writable(capability, name).schema, value)
                device.desired.setdefault(capability, {})[name] = checked
                if device.online:
                    device.state[f"{capability}.{name}"] = checked
        device.revision += 1
        return await self.twin(device_id, timeout_s)


class FakePublisher:
    """Implements services.loki.ports.Publisher."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, Value]] = []
        self.down = False

    async def publish(self, program: str, topic: Sequence[str], value: Value, spelled: str = "") -> None:
        """Keeps the message."""
        if self.down:
            raise PublishError("the message was not published: no connection")
        self.messages.append((program, ".".join(topic), value))


class LoopClock:
    """Implements services.loki.ports.Clock: wall clock that stands, monotonic clock of the event loop."""

    def now(self) -> datetime:
        """Always the same."""
        return datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        """The loop's."""
        return asyncio.get_running_loop().time()
