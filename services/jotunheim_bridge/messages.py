"""Converts between DeviceCall and the messages that carry calls: gRPC requests, pipelines, routed requests."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from services.chassis import codec
from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.jotunheim_bridge.model.calls import DeviceCall, Operation
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

DEFAULT_TIMEOUT_S = 10.0


def invoke_call(request: pb.InvokeRequest) -> DeviceCall:
    """Return the call of an action."""
    arguments = codec.values_from_proto(request.arguments)
    return DeviceCall(
        request.device_id,
        Operation.ACTION,
        request.capability,
        request.action,
        arguments,
        request.call_id,
        request.boot_id,
    )


def read_call(request: pb.ReadPropertyRequest) -> DeviceCall:
    """Return the read of a property."""
    return DeviceCall(request.device_id, Operation.READ, request.capability, request.property)


def write_call(request: pb.WritePropertyRequest) -> DeviceCall:
    """Return the write of a property."""
    value = codec.value_from_proto(request.value)
    return DeviceCall(
        request.device_id,
        Operation.WRITE,
        request.capability,
        request.property,
        {request.property: value},
        request.call_id,
        request.boot_id,
    )


def call_of(request: pb.PipelineRequest) -> tuple[DeviceCall, float]:
    """Return the call and its timeout in seconds; raises InvalidRequestError."""
    kind = request.WhichOneof("call")
    if kind is None:
        raise InvalidRequestError("the request has no call", hint="Set one of invoke, read and write.")
    timeout_s = seconds(request.timeout) if request.HasField("timeout") else DEFAULT_TIMEOUT_S
    if kind == "invoke":
        return invoke_call(request.invoke), timeout_s
    return (read_call(request.read) if kind == "read" else write_call(request.write)), timeout_s


def seconds(duration: Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def request_of(call: DeviceCall, timeout_s: float) -> pb.PipelineRequest:
    """Return the message of a call."""
    request = pb.PipelineRequest()
    request.timeout.FromMicroseconds(int(timeout_s * 1e6))
    common = {"device_id": call.device_id, "capability": call.capability}
    ids = {"call_id": call.call_id, "boot_id": call.boot_id}
    if call.operation is Operation.ACTION:
        arguments = codec.values_to_proto(call.arguments)
        request.invoke.CopyFrom(pb.InvokeRequest(**common, **ids, action=call.member, arguments=arguments))
    elif call.operation is Operation.READ:
        request.read.CopyFrom(pb.ReadPropertyRequest(**common, property=call.member))
    else:
        value = codec.value_to_proto(call.arguments.get(call.member))
        request.write.CopyFrom(pb.WritePropertyRequest(**common, **ids, property=call.member, value=value))
    return request


def response_of(number: int, call: DeviceCall, results: dict[str, Value]) -> pb.PipelineResponse:
    """Return the response to a call."""
    if call.operation is Operation.ACTION:
        answer = pb.InvokeResponse(results=codec.values_to_proto(results), call_id=call.call_id)
        return pb.PipelineResponse(id=number, invoke=answer)
    if call.operation is Operation.READ:
        value = codec.value_to_proto(results.get(call.member))
        return pb.PipelineResponse(id=number, read=pb.ReadPropertyResponse(value=value))
    return pb.PipelineResponse(id=number, write=pb.WritePropertyResponse(call_id=call.call_id))


def results_of(answer: pb.PipelineResponse, call: DeviceCall) -> dict[str, Value]:
    """Return the results by name; the inverse of `response_of`."""
    kind = answer.WhichOneof("outcome")
    if kind == "invoke":
        return codec.values_from_proto(answer.invoke.results)
    return {call.member: codec.value_from_proto(answer.read.value)} if kind == "read" else {}
