"""A device as a Thing of the Web of Things, rendered from its contract.

Owns the mapping: property `on` of capability `led0` is the Thing's property `led0.on`; actions and events likewise.
Source: W3C Web of Things Thing Description 1.1, sections 5.3 (affordances, data schemas, security) and 5.4 (defaults).
Pure.

Terms that the standard lacks have the prefix `ygg`: mutual TLS as security scheme, semantic types and their versions,
streamed actions. A form names the RPC that reaches the affordance, with the fields of its request as query;
`jotunheim_bridge` is the bridge's name in the mesh, and its address comes from the client's context. Units are UCUM
codes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import urlencode

from services.domain.capability import Action, Event, Parameter, Property, Schema, ValueType
from services.domain.contract import Contract
from services.domain.subjects import TENANT

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json]"

CONTEXT = "https://www.w3.org/2022/wot/td/v1.1"
VOCABULARY = "ygg://vocabulary/"
UCUM = "http://unitsofmeasure.org"
CONTENT_TYPE = "application/grpc+proto"
_BRIDGE = "grpc://jotunheim_bridge/yggdrasil.jotunheim.v1.BridgeService/"
_TYPES = {
    ValueType.BOOL: "boolean",
    ValueType.INT: "integer",
    ValueType.DOUBLE: "number",
    ValueType.STRING: "string",
    ValueType.BYTES: "string",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a device that are not in its contract; texts may be empty."""

    create_time: datetime
    model: str = ""
    device_class: str = ""
    firmware_version: str = ""


def describe(contract: Contract, facts: Facts) -> dict[str, Json]:
    """Return the Thing Description, ready for JSON."""
    thing: dict[str, Json] = {
        "@context": [CONTEXT, {"ygg": VOCABULARY}],
        "@type": "ygg:Device",
        "id": urn(contract.device_id, facts.create_time),
        "title": contract.device_id,
        "description": _summary(facts),
        "version": {"instance": str(contract.revision)},
        "created": _time(facts.create_time),
        "modified": _time(contract.negotiate_time or facts.create_time),
        "securityDefinitions": {
            "mtls": {
                "scheme": "ygg:MutualTlsSecurityScheme",
                "description": "TLS with a client certificate of the mesh's user or service CA.",
            }
        },
        "security": ["mtls"],
        "properties": {},
        "actions": {},
        "events": {},
        "ygg:unitSystem": UCUM,
        "ygg:device": contract.device_id,
        "ygg:contract": contract.digest,
    }
    properties, actions, events = dict[str, Json](), dict[str, Json](), dict[str, Json]()
    for found in contract.capabilities:
        kind: dict[str, Json] = {"@type": f"ygg:{found.type}", "ygg:version": found.version}
        at = {"device_id": contract.device_id, "capability": found.id}
        for prop in found.properties:
            if prop.readable or prop.writable or prop.observable:  # a Thing has no affordances that cannot be reached
                properties[f"{found.id}.{prop.name}"] = {**kind, **_property(prop, at)}
        actions |= {f"{found.id}.{action.name}": {**kind, **_action(action, at)} for action in found.actions}
        events |= {f"{found.id}.{event.name}": {**kind, **_event(event, at)} for event in found.events}
    return {**thing, "properties": properties, "actions": actions, "events": events}


def urn(device_id: str, create_time: datetime) -> str:
    """Return the device's URN: stable, and different in another mesh, where `porch-1` may be another device."""
    name = f"ygg://{TENANT}/device/{device_id}#{_time(create_time)}"
    return uuid.uuid5(uuid.NAMESPACE_URL, name).urn


def _property(prop: Property, at: Mapping[str, str]) -> dict[str, Json]:
    forms: list[Json] = []
    where = {**at, "property": prop.name}
    if prop.readable:
        forms.append(_form("ReadProperty", where, "readproperty"))
    if prop.writable:
        forms.append(_form("WriteProperty", where, "writeproperty"))
    if prop.observable:
        forms.append(_watch(at, "EVENT_KIND_TELEMETRY", "observeproperty", "unobserveproperty"))
    return {
        **_schema(prop.schema),
        "readOnly": not prop.writable,
        "writeOnly": prop.writable and not prop.readable,
        "observable": prop.observable,
        "forms": forms,
    }


def _action(action: Action, at: Mapping[str, str]) -> dict[str, Json]:
    rpc = "InvokeStream" if action.streamed else "Invoke"
    found: dict[str, Json] = {"synchronous": True, "forms": [_form(rpc, {**at, "action": action.name}, "invokeaction")]}
    if action.arguments:
        found["input"] = _object(action.arguments)
    if action.results:
        found["output"] = _object(action.results)
    return {**found, "ygg:streamed": True} if action.streamed else found


def _event(event: Event, at: Mapping[str, str]) -> dict[str, Json]:
    forms: list[Json] = [_watch(at, "EVENT_KIND_EVENT", "subscribeevent", "unsubscribeevent")]
    return {"data": _object(event.fields), "forms": forms}


def _form(rpc: str, fields: Mapping[str, str], *operations: str) -> dict[str, Json]:
    return {"href": f"{_BRIDGE}{rpc}?{urlencode(fields)}", "op": [*operations], "contentType": CONTENT_TYPE}


def _watch(at: Mapping[str, str], kind: str, *operations: str) -> dict[str, Json]:
    return _form("WatchEvents", {"device_ids": at["device_id"], "kinds": kind}, *operations)


def _object(parameters: Iterable[Parameter]) -> dict[str, Json]:
    given = tuple(parameters)
    properties: dict[str, Json] = {p.name: _schema(p.schema) for p in given}
    required: list[Json] = [p.name for p in given if not p.optional]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _schema(schema: Schema) -> dict[str, Json]:
    """Return the JSON schema. Bytes are base64, as in the JSON form of protobuf; a string has at most as many
    characters as bytes.
    """
    found: dict[str, Json] = {"type": _TYPES[schema.type]}
    if schema.unit:
        found["unit"] = schema.unit
    if schema.minimum is not None:
        found["minimum"] = _number(schema.minimum)
    if schema.maximum is not None:
        found["maximum"] = _number(schema.maximum)
    if schema.type is ValueType.STRING:
        found["maxLength"] = schema.max_length
    if schema.type is ValueType.BYTES:
        found |= {"contentEncoding": "base64", "maxLength": 4 * -(-schema.max_length // 3)}
    return found


def _number(bound: float) -> float:
    """Return the number without a fraction if it is whole."""
    return int(bound) if float(bound).is_integer() and abs(bound) <= 2**53 else bound


def _time(when: datetime) -> str:
    """Return the time in RFC 3339, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _summary(facts: Facts) -> str:
    parts = {"": facts.model, "device class ": facts.device_class, "firmware ": facts.firmware_version}
    return ", ".join(f"{what}{text}" for what, text in parts.items() if text) or "a device of the mesh"
