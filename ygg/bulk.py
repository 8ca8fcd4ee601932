"""Parse the lines of `ygg device register --file`. Errors carry the line number. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ygg import jsontext
from ygg.exits import UsageError
from ygg.output import safe
from yggdrasil.registry.v1 import registry_pb2

_KEYS = {"id", "labels", "state"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of input; `number` starts at 1."""

    number: int
    text: str


def parse_line(line: Line, labels: Mapping[str, str], *, pending: bool) -> registry_pb2.RegisterDeviceRequest:
    """Return the request for one line: a device id, or a JSON object with id, labels and state.

    `labels` apply to every line; those of the line win. Raises UsageError with the line number.
    """
    found: dict[str, Any] = {"id": line.text}
    if line.text[:1] in ("{", '"'):
        data = jsontext.parse(line.text, f"line {line.number}")
        found = data if isinstance(data, dict) else {"id": data}
    if not _is_device(found):
        raise UsageError(
            f"line {line.number}: invalid device: {safe(line.text, 80)}",
            hint='Expected an id, or {"id": "shed-1", "labels": {"zone": "shed"}, "state": "pending"}.',
        )
    state = "DEVICE_STATE_" + str(found.get("state") or ("pending" if pending else "active")).upper()
    if state not in dict(registry_pb2.DeviceState.items()):
        raise UsageError(f"line {line.number}: unknown state {safe(found['state'])!r}")
    return registry_pb2.RegisterDeviceRequest(
        device_id=found["id"],
        labels={**labels, **(found.get("labels") or {})},
        state=registry_pb2.DeviceState.Value(state),
    )


def _is_device(data: Mapping[str, Any]) -> bool:
    labels, state = data.get("labels") or {}, data.get("state") or ""
    if not isinstance(data.get("id"), str) or not isinstance(labels, dict) or not isinstance(state, str):
        return False
    return set(data) <= _KEYS and all(isinstance(value, str) for value in labels.values())
