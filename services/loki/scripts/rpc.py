"""`yggdrasil.loki.v1.Scripts/Script_<name>`: served by a generic handler, with the messages that each script declares.

Requests and responses travel through this module as bytes: which classes they are is only known once the script is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from services.chassis import codec
from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.loki.api import failure_details
from services.loki.fields import FieldType
from services.loki.messages import duration, log_to_proto
from services.loki.model import LogEntry
from services.loki.scripts.descriptors import SERVICE, SERVICE_FILE
from services.loki.scripts.model import RegisteredScript
from services.loki.scripts.service import Scripts
from yggdrasil.common.v1 import value_pb2

PREFIX = f"/{SERVICE}/Script_"


class ScriptMethods(grpc.GenericRpcHandler):
    """The methods of the service Scripts, whatever they are at the moment."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method of Scripts, None for others. Whether the name is registered the call finds out."""
        method = handler_call_details.method
        if not method.startswith(PREFIX):
            return None
        name = method.removeprefix(PREFIX)

        async def call(request: bytes, context: Any) -> bytes:
            return await self._call(name, request)

        return grpc.unary_unary_rpc_method_handler(call)

    async def _call(self, name: str, data: bytes) -> bytes:
        script, request_class, response_class = await self._scripts.called(name)
        try:
            request = request_class.FromString(data)
        except DecodeError as e:
            raise InvalidRequestError(f"this is no request of {name}", hint="The script may have changed.") from e
        logs: list[LogEntry] = []
        with failure_details(script.file, logs):
            ended = await self._scripts.run(script, request.device_id, given(script, request), logs.append)
        response = response_class()
        fill(script, response, ended.results or {"value": ended.outcome.value})
        for entry in logs:
            response.logs.add().MergeFromString(log_to_proto(entry).SerializeToString())
        response.duration.CopyFrom(
            type(response.duration).FromString(duration(ended.outcome.duration_s).SerializeToString())
        )
        encoded: bytes = response.SerializeToString()
        return encoded


def given(script: RegisteredScript, request: Message) -> dict[str, Value]:
    """Return the arguments that a request holds."""
    found: dict[str, Value] = {}
    for parameter in script.parameters:
        if request.HasField(parameter.name):
            value = getattr(request, parameter.name)
            if parameter.type is FieldType.ANY:
                value = codec.value_from_proto(value_pb2.Value.FromString(value.SerializeToString()))
            found[parameter.name] = value
    return found


def fill(script: RegisteredScript, response: Message, results: Mapping[str, Value]) -> None:
    """Set the results in a response; None is left unset."""
    anything = {field.name for field in script.results if field.type is FieldType.ANY} or {"value"}
    for name, value in results.items():
        if value is not None and name in anything:
            getattr(response, name).MergeFromString(codec.value_to_proto(value).SerializeToString())
        elif value is not None:
            setattr(response, name, value)


class ScriptReflection:
    """The descriptors of the service Scripts for reflection: a source of files for `services.chassis.reflection`."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def files(self) -> Mapping[str, Any]:
        """Return the files of now by name, with comments."""
        return (await self._scripts.snapshot()).files()

    async def services(self) -> tuple[str, ...]:
        """Return the service, if it has a method."""
        return (SERVICE,) if SERVICE_FILE in await self.files() else ()
