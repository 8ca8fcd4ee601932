"""Registered scripts as protobuf: the file of each with its request and response, and the file of the service.

    yggdrasil/loki/v1/scripts/blink.proto     yggdrasil.loki.v1.scripts.BlinkRequest, .BlinkResponse
    yggdrasil/loki/v1/scripts.proto           service yggdrasil.loki.v1.Scripts { rpc Script_blink(...) }

Owns how a declaration looks in protobuf, comments included. Pure: it neither serves nor stores the result.
Source: descriptor.proto, SourceCodeInfo (paths are field numbers of FileDescriptorProto and its parts).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf import descriptor_pb2 as dp

from services.domain.ids import printable
from services.loki.fields import FieldType
from services.loki.scripts.model import Field, RegisteredScript

PACKAGE = "yggdrasil.loki.v1.scripts"
SERVICE = "yggdrasil.loki.v1.Scripts"
SERVICE_FILE = "yggdrasil/loki/v1/scripts.proto"
VALUE_FILE, LOKI_FILE = "yggdrasil/common/v1/value.proto", "yggdrasil/loki/v1/loki.proto"
DURATION_FILE = "google/protobuf/duration.proto"
DEVICE_NUMBER, FIRST_PARAMETER = 1, 2
LOGS_NUMBER, DURATION_NUMBER = 1000, 1001
_VALUE = ".yggdrasil.common.v1.Value"
_LABEL = dp.FieldDescriptorProto.LABEL_OPTIONAL
_TYPES = {
    FieldType.BOOL: dp.FieldDescriptorProto.TYPE_BOOL,
    FieldType.INT: dp.FieldDescriptorProto.TYPE_SINT64,
    FieldType.DOUBLE: dp.FieldDescriptorProto.TYPE_DOUBLE,
    FieldType.STRING: dp.FieldDescriptorProto.TYPE_STRING,
    FieldType.BYTES: dp.FieldDescriptorProto.TYPE_BYTES,
}
_FILE_MESSAGE, _FILE_SERVICE, _MESSAGE_FIELD, _SERVICE_METHOD = 4, 6, 2, 2


def file_name(name: str) -> str:
    """Return the file of a script's messages."""
    return f"yggdrasil/loki/v1/scripts/{name}.proto"


def message_name(name: str, what: str) -> str:
    """`porch_alarm`, `Request` → `PorchAlarmRequest`; `_` is kept before a digit, so that no two scripts share one."""
    parts = name.split("_")
    camel = "".join(
        ("_" + part if n and not part[:1].isalpha() else part[:1].upper() + part[1:]) for n, part in enumerate(parts)
    )
    return f"{camel}{what}"


def script_file(script: RegisteredScript) -> dp.FileDescriptorProto:
    """Return the messages of one script, with its descriptions as comments."""
    file = dp.FileDescriptorProto(name=file_name(script.name), package=PACKAGE, syntax="proto3")
    file.dependency.extend([DURATION_FILE, VALUE_FILE, LOKI_FILE])
    request = file.message_type.add(name=message_name(script.name, "Request"))
    _comment(file, f"What {script.name} takes.", _FILE_MESSAGE, 0)
    _add(
        file,
        0,
        Field("device_id", FieldType.STRING, "The default device of the run; empty: none."),
        DEVICE_NUMBER,
        False,
    )
    for number, parameter in enumerate(script.parameters, FIRST_PARAMETER):
        _add(file, 0, parameter, number, True)
    response = file.message_type.add(name=message_name(script.name, "Response"))
    _comment(file, f"What {script.name} returns.", _FILE_MESSAGE, 1)
    results = script.results or (
        Field("value", FieldType.ANY, "The value that it returned; unset if it returned none."),
    )
    for number, result in enumerate(results, 1):
        _add(file, 1, result, number, True)
    logs = response.field.add(name="logs", number=LOGS_NUMBER, label=dp.FieldDescriptorProto.LABEL_REPEATED)
    logs.type, logs.type_name = dp.FieldDescriptorProto.TYPE_MESSAGE, ".yggdrasil.loki.v1.LogEntry"
    _comment(file, "Its log.", _FILE_MESSAGE, 1, _MESSAGE_FIELD, len(response.field) - 1)
    duration = response.field.add(name="duration", number=DURATION_NUMBER, label=_LABEL)
    duration.type, duration.type_name = dp.FieldDescriptorProto.TYPE_MESSAGE, ".google.protobuf.Duration"
    _comment(file, "Time from start to end.", _FILE_MESSAGE, 1, _MESSAGE_FIELD, len(response.field) - 1)
    _order_oneofs(request, response)
    return file


def service_file(scripts: Iterable[RegisteredScript]) -> dp.FileDescriptorProto:
    """Return the service of all scripts."""
    file = dp.FileDescriptorProto(name=SERVICE_FILE, package="yggdrasil.loki.v1", syntax="proto3")
    service = file.service.add(name="Scripts")
    _comment(file, "The registered scripts, each as a method.", _FILE_SERVICE, 0)
    for number, script in enumerate(sorted(scripts, key=lambda s: s.name)):
        file.dependency.append(file_name(script.name))
        service.method.add(
            name=f"Script_{script.name}",
            input_type=f".{PACKAGE}.{message_name(script.name, 'Request')}",
            output_type=f".{PACKAGE}.{message_name(script.name, 'Response')}",
        )
        _comment(file, _documentation(script), _FILE_SERVICE, 0, _SERVICE_METHOD, number)
    return file


def _documentation(script: RegisteredScript) -> str:
    description = script.description.strip() or f"Runs the script {script.name}."
    if not script.requires:
        return description
    return f"{description}{'' if description.endswith('.') else '.'} Requires {', '.join(script.requires)}."


def _add(file: dp.FileDescriptorProto, at: int, field: Field, number: int, presence: bool) -> None:
    message = file.message_type[at]
    added = message.field.add(name=field.name, number=number, label=_LABEL, json_name=field.name)
    if field.type is FieldType.ANY:
        added.type, added.type_name = dp.FieldDescriptorProto.TYPE_MESSAGE, _VALUE
    else:
        added.type = _TYPES[field.type]
        if presence:  # whether it was given is seen, so that 0 and "" are values like others
            added.proto3_optional = True
    words = field.description.strip() or f"{field.name}, {field.type.value}."
    if presence and field.optional:
        words += " May be left out."
    _comment(file, words, _FILE_MESSAGE, at, _MESSAGE_FIELD, len(message.field) - 1)


def _order_oneofs(*messages: dp.DescriptorProto) -> None:
    """Make each field with presence a separate oneof (descriptor.proto, proto3_optional)."""
    for message in messages:
        for field in message.field:
            if field.proto3_optional:
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")


def _comment(file: dp.FileDescriptorProto, text: str, *path: int) -> None:
    location = file.source_code_info.location.add(path=path, span=(len(file.source_code_info.location), 0, 1))
    location.leading_comments = "".join(f" {printable(line, 500)}\n" for line in _lines(text))


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
