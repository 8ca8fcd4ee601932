"""Format devices, contracts and events as text and as JSON. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.chassis.codec import contract_from_proto, moment, values_from_proto
from services.domain.arguments import bounds
from services.domain.capability import Action, Event, Parameter, Property, Schema
from services.domain.contract import Contract
from ygg.output import counted, duration, safe
from ygg.tables import flow
from ygg.values import show, to_json, unit
from yggdrasil.common.v1 import contract_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2
from yggdrasil.registry.v1 import registry_pb2

DEVICE_COLUMNS = ("DEVICE", "STATE", "SEEN", "FIRMWARE", "SLOT", "CAPABILITIES", "LABELS")
OPTIONAL = ("SLOT", "FIRMWARE", "SEEN", "LABELS")
"""Columns that `ygg device ls` drops on a narrow terminal, first to last."""

REVOKED_WITHIN_S = 60.0
"""A device that goes offline this many seconds or less after its certificate was revoked is shown as revoked."""


def device_row(device: registry_pb2.Device, now: datetime) -> tuple[str, ...]:
    """Return a row of `ygg device ls`; columns as DEVICE_COLUMNS."""
    return (
        safe(device.id, 63),
        device_state(device),
        _seen(device, now),
        safe(device.firmware_version, 31) or "-",
        safe(device.slot, 1) or "-",
        " ".join(safe(ref.id, 32) for ref in device.capabilities) or "-",
        labels(device),
    )


def device_state(device: registry_pb2.Device) -> str:
    """Return `online`, `offline`, or the reason it cannot be online: `suspended`, `retired`, `pending`, `revoked`."""
    life = _lifecycle(device)
    if life in ("active", "unspecified"):
        return "online" if device.presence.online else "revoked" if _is_revoked(device) else "offline"
    return f"{life}, still online" if device.presence.online else life


def certificate(device: registry_pb2.Device, now: datetime) -> str:
    """Return `expires in 364 d`, `expired 2 d ago`, or `-` if the device has never connected."""
    if not device.HasField("certificate_expire_time"):
        return "-"
    left_s = (moment(device.certificate_expire_time) - now).total_seconds()
    return f"expires in {duration(left_s)}" if left_s > 0 else f"expired {duration(-left_s)} ago"


def labels(device: registry_pb2.Device) -> str:
    """Return the labels as `floor=2 zone=hall`."""
    return " ".join(safe(f"{key}={value}", 130) for key, value in sorted(device.labels.items()))


def device_json(device: registry_pb2.Device) -> dict[str, Any]:
    """Return a device as JSON data; keys are stable."""
    presence = device.presence
    return {
        "id": device.id,
        "online": presence.online,
        "since": moment(presence.since).isoformat() if presence.HasField("since") else None,
        "state": _lifecycle(device),
        "labels": dict(sorted(device.labels.items())),
        "model": device.model,
        "device_class": device.device_class,
        "firmware": device.firmware_version,
        "slot": device.slot,
        "session_id": presence.session_id,
        "bridge_id": presence.bridge_id,
        "negotiation_ms": presence.negotiation_ms,
        "contract_revision": device.contract_revision,
        "capabilities": [{"id": c.id, "type": c.type, "version": c.version} for c in device.capabilities],
        "revision": device.revision,
        "certificate_expire_time": (
            moment(device.certificate_expire_time).isoformat() if device.HasField("certificate_expire_time") else None
        ),
        "revoke_time": moment(device.revoke_time).isoformat() if device.HasField("revoke_time") else None,
    }


def contract_lines(message: contract_pb2.Contract, now: datetime, width: int | None = None) -> list[str]:
    """Return a contract as text: a summary, then a line per capability and refusal, wrapped to `width`."""
    contract = contract_from_proto(message)
    wide_id = max((len(c.id) for c in contract.capabilities), default=0)
    wide_type = max((len(f"{c.type}@{c.version}") for c in contract.capabilities), default=0)
    lines = [*flow(_head(contract, now), width), ""]
    for c in contract.capabilities:
        name = safe(f"{c.id:<{wide_id}}   {f'{c.type}@{c.version}':<{wide_type}}", 200)
        lines += flow(
            (safe(part, 300) for part in _members(c.properties, c.actions, c.events)), width, first=name, heading=True
        )
    for r in contract.refused:
        lines += flow([safe(f"refused {r.capability_id} ({r.type}@{r.version}): {r.message}", 300)], width)
    return lines


def contract_json(message: contract_pb2.Contract) -> dict[str, Any]:
    """Return a contract as JSON data; keys are stable."""
    contract = contract_from_proto(message)
    return {
        "device_id": contract.device_id,
        "revision": contract.revision,
        "digest": contract.digest,
        "policy": contract.policy,
        "negotiate_time": contract.negotiate_time.isoformat() if contract.negotiate_time else None,
        "link": {
            "protocol": contract.link.protocol,
            "device_rx_frame_bytes": contract.link.device_rx_frame_bytes,
            "device_tx_frame_bytes": contract.link.device_tx_frame_bytes,
            "calls_in_flight": contract.link.calls_in_flight,
            "heartbeat_ms": contract.link.heartbeat_ms,
        },
        "capabilities": [
            {
                "id": c.id,
                "type": c.type,
                "version": c.version,
                "properties": [_property_json(p) for p in c.properties],
                "actions": [
                    {
                        "name": a.name,
                        "arguments": _parameters_json(a.arguments),
                        "results": _parameters_json(a.results),
                        "streamed": a.streamed,
                    }
                    for a in c.actions
                ],
                "events": [{"name": e.name, "fields": _parameters_json(e.fields)} for e in c.events],
            }
            for c in contract.capabilities
        ],
        "refused": [
            {
                "id": r.capability_id,
                "type": r.type,
                "version": r.version,
                "reason": r.reason.value,
                "message": r.message,
            }
            for r in contract.refused
        ],
    }


def event_kind(event: bridge_pb2.DeviceEvent) -> str:
    """Return the kind in lower case, such as `online` or `event`; `unknown` for one of a newer version."""
    try:
        return bridge_pb2.EventKind.Name(event.kind).removeprefix("EVENT_KIND_").lower()
    except ValueError:
        return "unknown"


def event_line(event: bridge_pb2.DeviceEvent) -> str:
    """Return an event as one line, without its time."""
    device = safe(event.device_id, 63)
    if event.capability:
        fields = " ".join(f"{safe(k, 32)}={show(v)}" for k, v in sorted(values_from_proto(event.fields).items()))
        lost = f"  ({event.dropped} lost since boot)" if event.dropped else ""
        return f"{device}  {safe(event.capability, 32)}.{safe(event.name, 32)}  {fields}{lost}"
    if event.kind in (bridge_pb2.EVENT_KIND_OFFLINE, bridge_pb2.EVENT_KIND_REFUSED):
        return f"{device}  {safe(event.denied_state, 32) or event_kind(event)}  {safe(event.reason, 100)}"
    if event.identity_conflict_peer:
        peer = safe(event.identity_conflict_peer, 64)
        return f"{device}  {event_kind(event)}  (another device uses this identity: {peer})"
    if event.kind == bridge_pb2.EVENT_KIND_CONTRACT:
        return f"{device}  contract {event.contract_revision}"
    return f"{device}  {event_kind(event)}"


def event_json(event: bridge_pb2.DeviceEvent) -> dict[str, Any]:
    """Return an event as JSON data; keys are stable."""
    return {
        "device_id": event.device_id,
        "kind": event_kind(event),
        "time": moment(event.time).isoformat(),
        "capability": event.capability,
        "name": event.name,
        "fields": {key: to_json(value) for key, value in values_from_proto(event.fields).items()},
        "boot_id": event.boot_id,
        "sequence": event.sequence,
        "dropped": event.dropped,
        "reason": event.reason,
        "contract_revision": event.contract_revision,
        "session_id": event.session_id,
        "identity_conflict_peer": event.identity_conflict_peer,
        "denied_state": event.denied_state,
    }


def _lifecycle(device: registry_pb2.Device) -> str:
    return registry_pb2.DeviceState.Name(device.state).removeprefix("DEVICE_STATE_").lower()


def _is_revoked(device: registry_pb2.Device) -> bool:
    """Return whether the device's certificate was revoked and the device has not been online since."""
    if not device.HasField("revoke_time"):
        return False
    since = device.presence.since if device.presence.HasField("since") else None
    return since is None or (moment(since) - moment(device.revoke_time)).total_seconds() < REVOKED_WITHIN_S


def _seen(device: registry_pb2.Device, now: datetime) -> str:
    if device.presence.online:
        return "now"
    if not device.presence.HasField("since"):
        return "never"
    return duration((now - moment(device.presence.since)).total_seconds())


def _head(contract: Contract, now: datetime) -> list[str]:
    age = duration((now - contract.negotiate_time).total_seconds()) if contract.negotiate_time else "?"
    when = "just now" if age == "now" else f"{age} ago"
    link = contract.link
    return [
        f"contract {contract.revision} (sha256:{safe(contract.digest, 64)[:12]}…)",
        f"negotiated {when}",
        f"einherjar {link.protocol}",
        f"frames {link.device_rx_frame_bytes} B",
        f"{counted(link.calls_in_flight, 'call')} in flight",
        f"policy {safe(contract.policy, 64)}",
    ]


def _members(properties: tuple[Property, ...], actions: tuple[Action, ...], events: tuple[Event, ...]) -> list[str]:
    parts = [f"{p.name}: {_schema(p.schema)} {_access(p)}" for p in properties]
    parts += [f"{a.name}({_parameters(a.arguments)}){_results(a)}{' …' if a.streamed else ''}" for a in actions]
    parts += [f"event {e.name}({_parameters(e.fields)})" for e in events]
    return parts


def _access(prop: Property) -> str:
    access = "rw" if prop.readable and prop.writable else "ro" if prop.readable else "wo"
    return f"{access}, observable" if prop.observable else access


def _schema(schema: Schema) -> str:
    if schema.minimum is not None and schema.maximum is not None:
        limits = f"{schema.minimum:g}…{schema.maximum:g}"
        return f"{limits} {unit(schema.unit)}" if schema.unit else limits
    limits = bounds(schema)
    return " ".join(part for part in (schema.type.value, limits or unit(schema.unit)) if part)


def _parameters(parameters: tuple[Parameter, ...]) -> str:
    return ", ".join(f"{p.name}{'?' if p.optional else ''} {_schema(p.schema)}" for p in parameters)


def _results(action: Action) -> str:
    return f" → {_parameters(action.results)}" if action.results else ""


def _schema_json(schema: Schema) -> dict[str, Any]:
    return {"type": schema.type.value, "unit": schema.unit, "minimum": schema.minimum, "maximum": schema.maximum}


def _property_json(p: Property) -> dict[str, Any]:
    access = {"readable": p.readable, "writable": p.writable, "observable": p.observable}
    return {"name": p.name, **_schema_json(p.schema), **access}


def _parameters_json(parameters: tuple[Parameter, ...]) -> list[dict[str, Any]]:
    return [{"name": p.name, **_schema_json(p.schema), "optional": p.optional} for p in parameters]
