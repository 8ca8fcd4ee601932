"""Conversion between the protos and the domain: values, capabilities, contracts. Used by every service's `api`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from services.domain import capability as dc
from services.domain import contract as dk
from services.domain.errors import InvalidRequestError
from services.domain.values import MAX_DEPTH, Value
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import contract_pb2 as kp
from yggdrasil.common.v1 import value_pb2 as vp

_REASONS = {
    dk.RefusalReason.POLICY: kp.REFUSAL_REASON_POLICY,
    dk.RefusalReason.MALFORMED: kp.REFUSAL_REASON_MALFORMED,
    dk.RefusalReason.DUPLICATE: kp.REFUSAL_REASON_DUPLICATE,
}
_REASONS_BY_NUMBER = {number: reason for reason, number in _REASONS.items()}
_TYPES = {
    cp.VALUE_TYPE_BOOL: dc.ValueType.BOOL,
    cp.VALUE_TYPE_INT: dc.ValueType.INT,
    cp.VALUE_TYPE_DOUBLE: dc.ValueType.DOUBLE,
    cp.VALUE_TYPE_STRING: dc.ValueType.STRING,
    cp.VALUE_TYPE_BYTES: dc.ValueType.BYTES,
}
_TYPE_NUMBERS = {kind: number for number, kind in _TYPES.items()}


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(when: datetime | None) -> Timestamp | None:
    """Return a Timestamp, or None for None."""
    if when is None:
        return None
    since = when - _EPOCH  # several times faster than FromDatetime, and every event has one
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def moment(stamp: Timestamp) -> datetime:
    """Return the UTC datetime of a Timestamp."""
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)


def value_to_proto(value: Value) -> vp.Value:  # noqa: PLR0911 - one return a kind
    """Return a Value message; None leaves the kind unset."""
    if isinstance(value, bool):
        return vp.Value(bool=value)
    if isinstance(value, int):
        return vp.Value(int=value)
    if isinstance(value, float):
        return vp.Value(double=value)
    if isinstance(value, str):
        return vp.Value(string=value)
    if isinstance(value, bytes):
        return vp.Value(bytes=value)
    if isinstance(value, list):
        return vp.Value(list=vp.ValueList(values=[value_to_proto(item) for item in value]))
    if isinstance(value, dict):
        return vp.Value(map=vp.ValueMap(entries={key: value_to_proto(item) for key, item in value.items()}))
    return vp.Value()


def value_from_proto(message: vp.Value, depth: int = 0) -> Value:
    """Return the plain value; raises InvalidRequestError if it is nested deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise InvalidRequestError(f"a value is nested deeper than {MAX_DEPTH}")
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "list":
        return [value_from_proto(item, depth + 1) for item in message.list.values]
    if kind == "map":
        return {key: value_from_proto(item, depth + 1) for key, item in message.map.entries.items()}
    plain: Value = getattr(message, kind)
    return plain


def values_to_proto(values: Mapping[str, Value]) -> dict[str, vp.Value]:
    """Return the fields of a map<string, Value>."""
    return {name: value_to_proto(value) for name, value in values.items()}


def values_from_proto(values: Mapping[str, vp.Value]) -> dict[str, Value]:
    """Return a map<string, Value> as plain values."""
    return {name: value_from_proto(value) for name, value in values.items()}


def value_type_from_proto(number: cp.ValueType.ValueType) -> dc.ValueType:
    """Return the value type; raises InvalidRequestError if it is unknown."""
    kind = _TYPES.get(number)
    if kind is None:
        raise InvalidRequestError("a value's type is missing or unknown to this version")
    return kind


def schema_from_proto(message: cp.DataSchema) -> dc.Schema:
    """Return the schema; raises InvalidRequestError if its type is unknown or cannot have a length."""
    if message.max_length and message.type not in (cp.VALUE_TYPE_STRING, cp.VALUE_TYPE_BYTES):
        raise InvalidRequestError("max_length applies only to string and bytes")
    return dc.Schema(
        type=value_type_from_proto(message.type),
        unit=message.unit,
        minimum=message.minimum if message.HasField("minimum") else None,
        maximum=message.maximum if message.HasField("maximum") else None,
        max_length=message.max_length or dc.MAX_DATA_BYTES,
    )


def _schema_to_proto(schema: dc.Schema) -> cp.DataSchema:
    length = schema.max_length if schema.type in (dc.ValueType.STRING, dc.ValueType.BYTES) else 0
    return cp.DataSchema(
        type=_TYPE_NUMBERS[schema.type],
        unit=schema.unit,
        minimum=schema.minimum,
        maximum=schema.maximum,
        max_length=length,
    )


def _arguments(messages: Iterable[cp.Parameter]) -> tuple[dc.Parameter, ...]:
    return tuple(dc.Parameter(p.name, schema_from_proto(p.schema), p.optional) for p in messages)


def _parameters(messages: Iterable[cp.Parameter]) -> tuple[dc.Parameter, ...]:
    """Return results or fields, which a device always sends: `optional` has no meaning there."""
    return tuple(dc.Parameter(p.name, schema_from_proto(p.schema)) for p in messages)


def capability_from_proto(message: cp.Capability) -> dc.Capability:
    """Return the capability, not yet checked; raises InvalidRequestError if a type is unknown."""
    return dc.Capability(
        id=message.id,
        type=message.type,
        version=message.version,
        properties=tuple(
            dc.Property(p.name, schema_from_proto(p.schema), p.readable, p.writable, p.observable)
            for p in message.properties
        ),
        actions=tuple(
            dc.Action(a.name, _arguments(a.arguments), _parameters(a.results), a.streamed) for a in message.actions
        ),
        events=tuple(dc.Event(e.name, _parameters(e.fields)) for e in message.events),
    )


def capability_to_proto(capability: dc.Capability) -> cp.Capability:
    """Return the message of a capability."""

    def parameters(found: tuple[dc.Parameter, ...]) -> list[cp.Parameter]:
        return [cp.Parameter(name=p.name, schema=_schema_to_proto(p.schema), optional=p.optional) for p in found]

    return cp.Capability(
        id=capability.id,
        type=capability.type,
        version=capability.version,
        properties=[
            cp.Property(
                name=p.name,
                schema=_schema_to_proto(p.schema),
                readable=p.readable,
                writable=p.writable,
                observable=p.observable,
            )
            for p in capability.properties
        ],
        actions=[
            cp.Action(
                name=a.name, arguments=parameters(a.arguments), results=parameters(a.results), streamed=a.streamed
            )
            for a in capability.actions
        ],
        events=[cp.Event(name=e.name, fields=parameters(e.fields)) for e in capability.events],
    )


def refusal_to_proto(refusal: dk.Refusal) -> kp.Refusal:
    """Return the message of a refusal."""
    return kp.Refusal(
        capability_id=refusal.capability_id,
        type=refusal.type,
        version=refusal.version,
        reason=_REASONS[refusal.reason],
        message=refusal.message,
    )


def terms_to_proto(link: dk.LinkTerms) -> kp.LinkTerms:
    """Return the message of link terms."""
    return kp.LinkTerms(
        protocol=link.protocol,
        device_rx_frame_bytes=link.device_rx_frame_bytes,
        device_tx_frame_bytes=link.device_tx_frame_bytes,
        calls_in_flight=link.calls_in_flight,
        heartbeat_ms=link.heartbeat_ms,
    )


def terms_from_proto(message: kp.LinkTerms) -> dk.LinkTerms:
    """Return the link terms of a message."""
    return dk.LinkTerms(
        message.protocol,
        message.device_rx_frame_bytes,
        message.device_tx_frame_bytes,
        message.calls_in_flight,
        message.heartbeat_ms,
    )


def changes_to_proto(changes: dk.Changes) -> kp.ContractChanges:
    """Return the message of contract changes."""
    return kp.ContractChanges(added=changes.added, removed=changes.removed, changed=changes.changed)


def changes_from_proto(message: kp.ContractChanges) -> dk.Changes:
    """Return the contract changes of a message."""
    return dk.Changes(tuple(message.added), tuple(message.removed), tuple(message.changed))


def contract_to_proto(contract: dk.Contract) -> kp.Contract:
    """Return the message of a contract."""
    return kp.Contract(
        device_id=contract.device_id,
        revision=contract.revision,
        digest=contract.digest,
        document_digest=contract.document_digest,
        capabilities=[capability_to_proto(c) for c in contract.capabilities],
        refused=[refusal_to_proto(r) for r in contract.refused],
        link=terms_to_proto(contract.link),
        negotiate_time=timestamp(contract.negotiate_time),
        policy=contract.policy,
    )


def contract_from_proto(message: kp.Contract) -> dk.Contract:
    """Return the contract; raises InvalidRequestError if a reason or type is unknown."""
    try:
        refused = tuple(
            dk.Refusal(r.capability_id, r.type, r.version, _REASONS_BY_NUMBER[r.reason], r.message)
            for r in message.refused
        )
    except KeyError as e:
        raise InvalidRequestError("a refusal's reason is missing or unknown to this version") from e
    return dk.Contract(
        device_id=message.device_id,
        document_digest=message.document_digest,
        capabilities=tuple(capability_from_proto(c) for c in message.capabilities),
        refused=refused,
        link=terms_from_proto(message.link),
        policy=message.policy,
        revision=message.revision,
        digest=message.digest,
        negotiate_time=moment(message.negotiate_time) if message.HasField("negotiate_time") else None,
    )
