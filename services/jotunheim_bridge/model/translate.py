"""Translates between names and indexes: calls of the contract to link frames, results and events back to names.

Pure. On the link, a capability is its position in the device's document, a member its position in the capability.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.domain.arguments import check_arguments, check_given, check_value
from services.domain.capability import Capability, Parameter, Schema
from services.domain.contract import Contract
from services.domain.errors import ArgumentError
from services.domain.values import Value
from services.jotunheim_bridge.errors import LinkError, ResultError
from services.jotunheim_bridge.model.calls import DeviceCall, Operation
from services.jotunheim_bridge.model.negotiation import Agreement
from yggdrasil.device.v1 import link_pb2 as link


@dataclass(frozen=True, slots=True)
class LinkCall:
    """A call with link indexes, lacking only its id and deadline, and the parameters of its results."""

    capability: int
    operation: link.Operation.ValueType
    member: int
    arguments: tuple[link.Argument, ...]
    results: tuple[Parameter, ...]
    where: str
    streamed: bool = False

    def frame(self, call_id: str, deadline_ms: int) -> link.Frame:
        """Return the Invoke frame."""
        return link.Frame(
            invoke=link.Invoke(
                call_id=call_id,
                capability=self.capability,
                operation=self.operation,
                member=self.member,
                arguments=self.arguments,
                deadline_ms=deadline_ms,
            )
        )


def link_call(agreed: Agreement, call: DeviceCall) -> LinkCall:
    """Return the call for the link; raises ContractError or ArgumentError if the contract does not allow it."""
    make = {Operation.ACTION: _action, Operation.READ: _read, Operation.WRITE: _write}[call.operation]
    return make(agreed, call, f"{call.capability}.{call.member}")


def _action(agreed: Agreement, call: DeviceCall, where: str) -> LinkCall:
    action = agreed.contract.action(call.capability, call.member)
    checked = check_arguments(where, action.arguments, call.arguments)
    arguments = tuple(
        link.Argument(index=index, value=to_link(checked[parameter.name]))
        for index, parameter in enumerate(action.arguments)
        if parameter.name in checked
    )
    member = _position(agreed.contract.capability(call.capability).actions, call.member)
    position = agreed.positions[call.capability]
    return LinkCall(position, link.OPERATION_ACTION, member, arguments, action.results, where, action.streamed)


def _read(agreed: Agreement, call: DeviceCall, where: str) -> LinkCall:
    prop = agreed.contract.readable(call.capability, call.member)
    member = _position(agreed.contract.capability(call.capability).properties, call.member)
    results = (Parameter(prop.name, prop.schema),)
    return LinkCall(agreed.positions[call.capability], link.OPERATION_READ, member, (), results, where)


def _write(agreed: Agreement, call: DeviceCall, where: str) -> LinkCall:
    prop = agreed.contract.writable(call.capability, call.member)
    checked = to_link(check_given(where, prop.schema, call.arguments.get(call.member)))
    member = _position(agreed.contract.capability(call.capability).properties, call.member)
    arguments = (link.Argument(index=0, value=checked),)
    return LinkCall(agreed.positions[call.capability], link.OPERATION_WRITE, member, arguments, (), where)


def _position(members: Iterable[object], name: str) -> int:
    return next(index for index, member in enumerate(members) if getattr(member, "name", None) == name)


def results(call: LinkCall, answer: link.Result) -> dict[str, Value]:
    """Return the results by name; raises ResultError if they violate the contract."""
    return _named(call.where, call.results, answer.values)


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """An event or a sample in the names of the contract."""

    capability: str
    name: str
    fields: dict[str, Value]


def event(agreed: Agreement, frame: link.Event) -> NamedEvent | None:
    """Return the event by name, or None if its capability was refused. Raises LinkError if it is invalid."""
    if frame.capability in agreed.refused_positions:
        return None
    capability = capability_at(agreed, frame.capability)
    if capability is None or frame.event >= len(capability.events):
        raise LinkError(
            link.GOODBYE_CODE_PROTOCOL_ERROR, f"event {frame.capability}/{frame.event} is not in the document"
        )
    spec = capability.events[frame.event]
    try:
        fields = _named(f"{capability.id}.{spec.name}", spec.fields, frame.fields)
    except ResultError as e:
        raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, e.message[:120]) from e
    return NamedEvent(capability.id, spec.name, fields)


def sample(agreed: Agreement, frame: link.Sample) -> NamedEvent | None:
    """Return the sample by name, or None if its capability was refused. Raises LinkError if it is invalid."""
    if frame.capability in agreed.refused_positions:
        return None
    capability = capability_at(agreed, frame.capability)
    if capability is None or frame.property >= len(capability.properties):
        where = f"{frame.capability}/{frame.property}"
        raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, f"sample {where} is not in the document")
    prop = capability.properties[frame.property]
    if not prop.observable:
        raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, f"{capability.id}.{prop.name} is not observable")
    try:
        value = _checked(f"{capability.id}.{prop.name}", prop.name, prop.schema, frame.value)
    except ResultError as e:
        raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, e.message[:120]) from e
    return NamedEvent(capability.id, prop.name, {prop.name: value})


def capability_at(agreed: Agreement, position: int) -> Capability | None:
    """Return the capability at a position of the document, or None if the contract has none there."""
    contract: Contract = agreed.contract
    for capability_id, found in agreed.positions.items():
        if found == position:
            return contract.capability(capability_id)
    return None


def _named(where: str, parameters: Sequence[Parameter], values: Iterable[link.Argument]) -> dict[str, Value]:
    named: dict[str, Value] = {}
    following = 0
    for argument in values:
        if argument.index < following:
            raise ResultError(f"{where} has value {argument.index} twice or out of order")
        if argument.index >= len(parameters):
            raise ResultError(f"{where} has value {argument.index}, which is not in the contract")
        following = argument.index + 1
        parameter = parameters[argument.index]
        named[parameter.name] = _checked(where, parameter.name, parameter.schema, argument.value)
    missing = [p.name for p in parameters if p.name not in named]  # `optional` is for arguments only
    if missing:
        raise ResultError(f"{where} lacks {', '.join(missing)}")
    return named


def _checked(where: str, name: str, schema: Schema, value: link.LinkValue) -> Value:
    try:
        return check_value(f"{where}: {name}", schema, from_link(value), exact=True)
    except ArgumentError as e:
        raise ResultError(f"the response violates the contract: {e.message}") from e


def to_link(value: Value) -> link.LinkValue:
    """Return a checked value as a link value."""
    if isinstance(value, bool):
        return link.LinkValue(boolean=value)
    if isinstance(value, int):
        return link.LinkValue(integer=value)
    if isinstance(value, float):
        return link.LinkValue(number=value)
    if isinstance(value, str):
        return link.LinkValue(text=value)
    if isinstance(value, bytes):
        return link.LinkValue(data=value)
    raise TypeError(f"{type(value).__name__} does not cross the device link; the contract check must have refused it")


def from_link(value: link.LinkValue) -> Value:
    """Return a link value as a plain value; None if unset."""
    kind = value.WhichOneof("kind")
    plain: Value = getattr(value, kind) if kind else None
    return plain
