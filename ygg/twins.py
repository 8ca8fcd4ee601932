"""Format twins as text and JSON, and parse changes of the desired state. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from services.chassis.codec import moment, value_from_proto, values_from_proto
from services.domain.capability import Schema
from services.domain.contract import Contract
from services.domain.values import Value
from services.domain.values import text as plain_text
from ygg import jsontext, values
from ygg.exits import UsageError
from ygg.output import safe
from yggdrasil.registry.v1 import twin_pb2

COLUMNS = ("PROPERTY", "DESIRED", "REPORTED", "STATE")
_HINT = "Use led0.brightness=40 to set a property, led0.on= to remove it, led0= to remove all of led0."

PROGRAMS_HINT = "Deploy a program:  ygg program deploy FILE -d DEVICE   List programs:  ygg program ls"
PROGRAM_COLUMNS = ("PROGRAM", "DESIRED", "REPORTED", "STATE")


def patch(words: Mapping[str, str], contract: Contract | None) -> dict[str, Value]:
    """Return `{"led0.on": "true"}` as a document; an empty value removes. Raises UsageError."""
    document: dict[str, Value] = {}
    for name, text in words.items():
        capability, dot, prop = name.partition(".")
        if capability == "programs" and not _has(contract, capability):
            raise UsageError("programs cannot be set in a twin", hint=PROGRAMS_HINT)
        if not dot and not text:
            document[capability] = None
            continue
        if not (capability and prop) or "." in prop:
            raise UsageError(f"invalid property name {safe(name)!r}", hint=_HINT)
        members = document.setdefault(capability, {})
        if not isinstance(members, dict):
            raise UsageError(f"cannot both set and remove {capability}", hint=_HINT)
        members[prop] = values.parse(text, _schema(contract, capability, prop)) if text else None
    return document


def document(text: str) -> dict[str, Value]:
    """Parse a JSON document of capability, property and value; null removes. Raises UsageError."""
    data = jsontext.parse(text, "the document")
    if not isinstance(data, dict):
        raise UsageError("the document is not a JSON object", hint='Expected {"led0": {"on": true, "brightness": 40}}.')
    return {name: jsontext.to_value(value) for name, value in data.items()}


def row(one: twin_pb2.TwinProperty) -> tuple[str, ...]:
    """Return a row of `ygg twin get`; columns as COLUMNS."""
    return (
        name_of(one),
        values.show(value_from_proto(one.desired)) if one.desired.WhichOneof("kind") else "-",
        values.show(value_from_proto(one.reported)) if one.reported.WhichOneof("kind") else "-",
        sync_state(one),
    )


def program_row(one: twin_pb2.TwinProgram) -> tuple[str, ...]:
    """Return a program row of `ygg twin get`; columns as PROGRAM_COLUMNS."""
    state = state_of(one)
    name = (
        safe(one.deployment_id)
        if one.deployment_id == one.program_id
        else safe(f"{one.deployment_id} ({one.program_id})", 70)
    )
    desired = safe(one.desired_version) if one.desired_running else f"{safe(one.desired_version)} stopped"
    shown = f"{state}: {safe(one.problem, 300)}" if one.problem else state
    return name, desired, safe(one.reported_version) or "-", shown


def program_lines(one: twin_pb2.TwinProgram) -> list[str]:
    """Return the values that a program reports, one line per key."""
    name = safe(one.deployment_id)
    reported = values_from_proto(one.reported)
    return [f"{name} reports {safe(key, 64)} = {values.show(reported[key])}" for key in sorted(reported)]


def state_of(one: twin_pb2.TwinProgram) -> str:
    """Return the state of a program, such as `running` or `refused`."""
    return twin_pb2.TwinProgramState.Name(one.state).removeprefix("TWIN_PROGRAM_STATE_").lower()


def _programs_changed(before: twin_pb2.Twin | None, now: twin_pb2.Twin) -> Iterator[str]:
    known = {one.deployment_id: program_row(one) for one in before.programs} if before else {}
    shown = {line for one in before.programs for line in program_lines(one)} if before else set()
    for one in now.programs:
        name, desired, reported, state = cells = program_row(one)
        if known.pop(one.deployment_id, None) != cells:
            yield f"program {name}  desired {desired}  reported {reported}  {state}"
        yield from (f"program {line}" for line in program_lines(one) if line not in shown)
    yield from (f"program {cells[0]}  removed" for cells in known.values())


def name_of(one: twin_pb2.TwinProperty) -> str:
    """Return the full name, such as `led0.on`."""
    return safe(f"{one.capability_id}.{one.property}", 65)


def sync_state(one: twin_pb2.TwinProperty) -> str:
    """Return `in sync`, `pending`, `drifted`, or the reason why the desired value cannot be applied."""
    if one.problem:
        return safe(one.problem, 300)
    if one.drifted:
        return "drifted"
    if one.pending:
        return "pending"
    return "in sync" if one.desired.WhichOneof("kind") else ""


def drift(twin: twin_pb2.Twin) -> Iterator[str]:
    """Yield a notice about drifted properties and the commands that resolve the drift."""
    drifted = [one for one in twin.properties if one.drifted]
    if not drifted:
        return
    device = safe(twin.device_id, 63)
    yield (
        "Drifted: written without the twin, or changed by the device. The desired value is written again when the"
        " device next connects."
    )
    for title, side in (("Write the desired value now:", "desired"), ("Keep the reported value:", "reported")):
        assignments = (f"{name_of(one)}={as_typed(value_from_proto(getattr(one, side)))}" for one in drifted)
        yield f"{title}  ygg twin set {device} {' '.join(assignments)}"


def as_typed(value: Value) -> str:
    """Return the value as a shell-quoted command-line argument."""
    return shlex.quote(safe(repr(value) if isinstance(value, float) else plain_text(value), 200))


def changes(before: twin_pb2.Twin | None, now: twin_pb2.Twin) -> Iterator[str]:
    """Yield a line for each property that is new or differs from `before`."""
    known = {name_of(one): row(one) for one in before.properties} if before else {}
    rows = {name_of(one): row(one) for one in now.properties}
    for name, cells in rows.items():
        if known.get(name) != cells:
            yield "  ".join(part for part in (name, f"desired {cells[1]}", f"reported {cells[2]}", cells[3]) if part)
    yield from (f"{name}  removed" for name in known if name not in rows)
    yield from _programs_changed(before, now)


def to_json(twin: twin_pb2.Twin) -> dict[str, Any]:
    """Return a twin as JSON data; keys are stable."""
    return {
        "device_id": twin.device_id,
        "revision": twin.revision,
        "reported_revision": twin.reported_revision,
        "contract_revision": twin.contract_revision,
        "desired": values.to_json(values_from_proto(twin.desired)),
        "reported": values.to_json(values_from_proto(twin.reported)),
        "delta": values.to_json(values_from_proto(twin.delta)),
        "properties": [
            {
                "property": name_of(one),
                "desired": values.to_json(value_from_proto(one.desired)),
                "desired_revision": one.desired_revision,
                "desire_time": moment(one.desire_time).isoformat() if one.HasField("desire_time") else None,
                "reported": values.to_json(value_from_proto(one.reported)),
                "report_time": moment(one.report_time).isoformat() if one.HasField("report_time") else None,
                "pending": one.pending,
                "drifted": one.drifted,
                "problem": one.problem,
            }
            for one in twin.properties
        ],
        "programs_revision": twin.programs_revision,
        "programs": [
            {
                "deployment_id": one.deployment_id,
                "program_id": one.program_id,
                "desired_version": one.desired_version,
                "desired_running": one.desired_running,
                "desire_time": moment(one.desire_time).isoformat(),
                "reported_version": one.reported_version or None,
                "state": state_of(one),
                "report_time": moment(one.report_time).isoformat(),
                "pending": one.pending,
                "problem": one.problem,
                "reported": values.to_json(values_from_proto(one.reported)),
            }
            for one in twin.programs
        ],
    }


def version_json(version: twin_pb2.TwinVersion) -> dict[str, Any]:
    """Return a version as JSON data; keys are stable."""
    side = "desired" if version.WhichOneof("side") == "revision" else "reported"
    return {
        "side": side,
        "revision": version.revision or version.reported_revision,
        "time": moment(version.time).isoformat(),
        "author": version.author,
        "document": values.to_json(values_from_proto(version.document)),
        "changed": list(version.changed),
    }


def _has(contract: Contract | None, capability: str) -> bool:
    return contract is not None and any(one.id == capability for one in contract.capabilities)


def _schema(contract: Contract | None, capability: str, prop: str) -> Schema | None:
    for found in contract.capabilities if contract else ():
        if found.id == capability:
            return next((one.schema for one in found.properties if one.name == prop), None)
    return None
