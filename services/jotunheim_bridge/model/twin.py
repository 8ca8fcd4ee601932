"""Twins between link and mesh: states and entries by index on the link, properties by name in the mesh.

Pure. Only properties that are readable and writable have a twin; services.domain.twin gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from services.domain import twin
from services.domain.arguments import check_value
from services.domain.errors import ArgumentError, YggError
from services.domain.twin import Path, Report
from services.domain.values import Value
from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model import translate
from services.jotunheim_bridge.model.negotiation import Agreement
from yggdrasil.device.v1 import link_pb2 as link

MAX_STATES = 8
"""Maximum states in a TwinReport, and entries in a TwinDelta."""
_ENVELOPE_BYTES = 16
"""Maximum of tag and length of the body plus tag and value of the version."""
_PROBLEMS: Mapping[int, str] = {
    link.RESULT_STATUS_OK: "",
    link.RESULT_STATUS_INVALID_ARGUMENT: "the device rejects this value",
    link.RESULT_STATUS_NOT_FOUND: "the device does not have this property",
    link.RESULT_STATUS_NOT_ALLOWED: "the device does not allow the write",
    link.RESULT_STATUS_BUSY: "the device is busy",
    link.RESULT_STATUS_HARDWARE: "the hardware failed",
    link.RESULT_STATUS_DEADLINE: "the hardware took too long",
}


def states(agreed: Agreement, report: link.TwinReport) -> dict[Path, tuple[Report, bool]]:
    """Return the reported properties by name, and whether the device was too busy; omits refused capabilities.

    Raises LinkError if the report violates the protocol.
    """
    if len(report.states) > MAX_STATES or not (report.states or report.complete):
        raise _protocol_error(f"{len(report.states)} states of a twin, 1 to {MAX_STATES} are allowed")
    found: dict[Path, tuple[Report, bool]] = {}
    for state in report.states:
        if state.capability in agreed.refused_positions:
            continue
        capability = translate.capability_at(agreed, state.capability)
        if capability is None or state.property >= len(capability.properties):
            raise _protocol_error(f"the twin of {state.capability}/{state.property} is not in the document")
        prop = capability.properties[state.property]
        path = (capability.id, prop.name)
        if not (prop.readable and prop.writable):
            raise _protocol_error(f"{twin.dotted(path)} is not readable and writable, so it has no twin")
        value = translate.from_link(state.value)
        if value is not None:
            try:
                value = check_value(prop.name, prop.schema, value, exact=True)
            except ArgumentError as e:
                raise _protocol_error(f"{twin.dotted(path)}: {e.message}") from e
        problem = _PROBLEMS.get(state.status, "the device gave no reason")
        found[path] = Report(value, problem), state.status == link.RESULT_STATUS_BUSY
    return found


def settable(agreed: Agreement, desired: Mapping[Path, Value]) -> dict[Path, Value]:
    """Return the values that the contract allows."""
    found: dict[Path, Value] = {}
    for path, value in desired.items():
        try:
            found[path] = twin.checked(path, value, agreed.contract)
        except YggError:
            continue  # the registry reports it
    return found


def deltas(agreed: Agreement, version: int, values: Mapping[Path, Value], limit_bytes: int) -> Iterator[link.Frame]:
    """Yield TwinDeltas with the values, each of at most MAX_STATES entries and `limit_bytes` bytes."""
    frame, size = link.Frame(), 0
    for entry in _entries(agreed, values):
        more = entry.ByteSize() + 3
        if frame.twin_delta.entries and (
            len(frame.twin_delta.entries) == MAX_STATES or size + more > limit_bytes - _ENVELOPE_BYTES
        ):
            yield frame
            frame, size = link.Frame(), 0
        frame.twin_delta.version = version
        frame.twin_delta.entries.append(entry)
        size += more
    if size:
        yield frame


def _entries(agreed: Agreement, values: Mapping[Path, Value]) -> Iterable[link.TwinEntry]:
    for (capability_id, name), value in sorted(values.items()):
        names = [prop.name for prop in agreed.contract.capability(capability_id).properties]
        position = agreed.positions[capability_id]
        yield link.TwinEntry(capability=position, property=names.index(name), value=translate.to_link(value))


def _protocol_error(message: str) -> LinkError:
    return LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, message[:120])
