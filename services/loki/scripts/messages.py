"""Registered scripts between the protos and the model. The bucket holds StoredScripts."""

from __future__ import annotations

from services.chassis import codec
from services.domain import text
from services.loki import messages
from services.loki.scripts.model import Field, RegisteredScript
from yggdrasil.loki.v1 import script_pb2 as pb

SCHEMA = 1
SERVICE = "yggdrasil.loki.v1.Scripts"


def script_to_proto(script: RegisteredScript, *, source: bool = True) -> pb.Script:
    """Return the message; `source` False leaves the text out."""
    return pb.Script(
        name=script.name,
        language=messages.language_to_proto(script.language),
        source=script.source if source else "",
        description=script.description,
        parameters=[_field_to_proto(field) for field in script.parameters],
        results=[_field_to_proto(field) for field in script.results],
        requires=script.requires,
        limits=messages.limits_to_proto(script.limits),
        revision=script.revision,
        create_time=codec.timestamp(script.create_time),
        update_time=codec.timestamp(script.update_time),
        author=script.author,
        method=f"{SERVICE}/Script_{script.name}",
    )


def script_from_proto(message: pb.Script) -> RegisteredScript:
    """Return the script, not yet checked; raise InvalidScriptError or InvalidRequestError."""
    return RegisteredScript(
        name=message.name,
        language=messages.language_of(message.language),
        source=text.normalized(message.source),
        description=message.description,
        parameters=tuple(_field_of(field) for field in message.parameters),
        results=tuple(_field_of(field) for field in message.results),
        requires=tuple(message.requires),
        limits=messages.limits_of(message.limits),
        revision=message.revision,
        create_time=codec.moment(message.create_time) if message.HasField("create_time") else None,
        update_time=codec.moment(message.update_time) if message.HasField("update_time") else None,
        author=message.author,
    )


def _field_to_proto(field: Field) -> pb.ScriptField:
    return pb.ScriptField(
        name=field.name, type=messages.type_to_proto(field.type), description=field.description, optional=field.optional
    )


def _field_of(message: pb.ScriptField) -> Field:
    kind = messages.type_of(message.name, message.type)
    return Field(message.name, kind, message.description, message.optional)


def script_to_bytes(script: RegisteredScript) -> bytes:
    """As it is kept."""
    return pb.StoredScript(schema=SCHEMA, script=script_to_proto(script)).SerializeToString(deterministic=True)


def script_from_bytes(data: bytes, revision: int) -> RegisteredScript:
    """As it was kept under that revision."""
    stored = pb.StoredScript.FromString(data)
    stored.script.revision = revision
    return script_from_proto(stored.script)
