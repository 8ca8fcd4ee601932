"""An in-memory board for tests of scripts: a mesh of one device, whose sensors return values set by the test.

Its contract is that of the simulated board: an LED, a thermometer, a hygrometer, a battery and a pin. Calls are
validated against it as by the bridge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.domain.arguments import check_arguments, check_given, check_value
from services.domain.capability import Action, Capability, Parameter, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms
from services.domain.errors import InvalidRequestError, Reason, YggError
from services.domain.matcher import match
from services.domain.requirements import parse_requirement
from services.domain.selectors import parse_selector
from services.domain.values import Value
from services.loki.ports import DeviceQuery, DeviceSummary, TwinSummary

BOARD_ID = "board-1"
_BOOL, _PERCENT = Schema(ValueType.BOOL), Schema(ValueType.INT, "%", 0, 100)


def _sensor(name: str, kind: str, quantity: str, unit: str) -> Capability:
    return Capability(name, kind, 1, (Property(quantity, Schema(ValueType.DOUBLE, unit), True, False, True),), (), ())


CAPABILITIES = (
    Capability(
        "led0",
        "actuator.led",
        1,
        (Property("on", _BOOL, True, True, False), Property("brightness", _PERCENT, True, True, False)),
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
        (),
    ),
    _sensor("temp0", "sensor.temperature", "celsius", "Cel"),
    _sensor("hum0", "sensor.humidity", "percent", "%"),
    _sensor("bat0", "sensor.battery", "volts", "V"),
    Capability("gpio0", "io.pin", 1, (Property("level", _BOOL, True, True, False),), (), ()),
)
_FIRST: dict[str, Value] = {
    "led0.on": False, "led0.brightness": 100, "temp0.celsius": 21.5, "hum0.percent": 40.0, "bat0.volts": 3.7,
    "gpio0.level": False,
}  # fmt: skip


class NoSuchDeviceError(YggError, reason=Reason.DEVICE_NOT_FOUND):
    """Tests on the fake board see it alone."""


class FakeBoard:
    """Implements the port Mesh."""

    def __init__(self) -> None:
        self._contract = Contract(BOARD_ID, "", CAPABILITIES, (), LinkTerms(1, 1024, 1024, 2, 1000), "fake")
        self._state = dict(_FIRST)
        self._desired: dict[str, dict[str, Value]] = {}
        self._blinks = self._revision = 0

    def set(self, path: str, value: Value) -> None:
        """Set a sensor's value. Raise the same errors as a write."""
        capability, _, name = path.partition(".")
        self._state[path] = check_value(path, self._contract.readable(capability, name).schema, value)

    def _known(self, device_id: str) -> None:
        if device_id != BOARD_ID:
            raise NoSuchDeviceError(f"there is no device {device_id} beside the fake {BOARD_ID}")

    def _summary(self) -> DeviceSummary:
        has = {c.id: f"{c.type}@{c.version}" for c in CAPABILITIES}
        return DeviceSummary(BOARD_ID, True, "fake-board", "1.0.0", {}, has)

    async def devices(self, query: DeviceQuery, timeout_s: float) -> Sequence[DeviceSummary]:
        """Return the board if it matches the query."""
        requirements = [parse_requirement(text) for text in query.has]
        has_all = all(match(one, CAPABILITIES).capability_id for one in requirements)
        found = has_all and parse_selector(query.selector).matches({}) and query.online is not False
        return [self._summary()] if found else []

    async def device(self, device_id: str, timeout_s: float) -> DeviceSummary:
        """Return the board."""
        self._known(device_id)
        return self._summary()

    async def sessions(self, timeout_s: float) -> int:
        """Return 1: the board is connected."""
        return 1

    async def capabilities(self, device_id: str, timeout_s: float) -> Sequence[Capability]:
        """Return the capabilities of the board."""
        self._known(device_id)
        return CAPABILITIES

    async def call(
        self, device_id: str, capability: str, action: str, arguments: Mapping[str, Value], timeout_s: float
    ) -> dict[str, Value]:
        """`blink` counts its requests."""
        self._known(device_id)
        found = self._contract.action(capability, action)
        times = check_arguments(f"{capability}.{action}", found.arguments, arguments)["times"]
        self._blinks += times if isinstance(times, int) else 0
        return {"count": self._blinks}

    async def read(self, device_id: str, capability: str, prop: str, timeout_s: float) -> Value:
        """From the board's state."""
        self._known(device_id)
        self._contract.readable(capability, prop)
        return self._state[f"{capability}.{prop}"]

    async def write(self, device_id: str, capability: str, prop: str, value: Value, timeout_s: float) -> None:
        """Into the board's state."""
        self._known(device_id)
        path = f"{capability}.{prop}"
        self._state[path] = check_given(path, self._contract.writable(capability, prop).schema, value)

    async def twin(self, device_id: str, timeout_s: float) -> TwinSummary:
        """Desired state is applied at once, so there is no delta."""
        self._known(device_id)
        reported: dict[str, dict[str, Value]] = {}
        for path, value in self._state.items():
            capability, _, name = path.partition(".")
            reported.setdefault(capability, {})[name] = value
        return TwinSummary(self._revision, {**self._desired}, {**reported}, {})

    async def update_twin(self, device_id: str, desired: Mapping[str, Value], timeout_s: float) -> TwinSummary:
        """Write the desired properties immediately."""
        for capability, properties in desired.items():
            if not isinstance(properties, dict):
                raise InvalidRequestError("a twin is a map from capabilities to maps of their properties")
            for name, value in properties.items():
                await self.write(device_id, capability, name, value, timeout_s)
                self._desired.setdefault(capability, {})[name] = value
        self._revision += 1
        return await self.twin(device_id, timeout_s)
