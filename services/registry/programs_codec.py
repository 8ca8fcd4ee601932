"""Conversion of a twin's programs between model, messages and records of the bucket `twin_programs`. Pure."""

from __future__ import annotations

from services.chassis import codec
from services.registry.model import ProgramsSide, ProgramState, TwinProgram
from yggdrasil.registry.v1 import twin_pb2 as pb

SCHEMA = 1


def program_to_proto(program: TwinProgram) -> pb.TwinProgram:
    """Return the message, `pending` included."""
    return pb.TwinProgram(
        deployment_id=program.deployment_id,
        program_id=program.program_id,
        desired_version=program.desired_version,
        desired_running=program.desired_running,
        desire_time=codec.timestamp(program.desire_time),
        reported_version=program.reported_version,
        state=pb.TwinProgramState.ValueType(program.state.value),
        problem=program.problem,
        report_time=codec.timestamp(program.report_time),
        pending=program.pending,
        reported=codec.values_to_proto(program.reported),
    )


def program_from_proto(message: pb.TwinProgram) -> TwinProgram:
    """Return the program; an unknown state becomes WAITING."""
    known = message.state in (state.value for state in ProgramState)
    return TwinProgram(
        message.deployment_id,
        message.program_id,
        message.desired_version,
        message.desired_running,
        codec.moment(message.desire_time),
        ProgramState(message.state) if known else ProgramState.WAITING,
        message.reported_version,
        message.problem,
        codec.moment(message.report_time) if message.HasField("report_time") else None,
        codec.values_from_proto(message.reported),
    )


def programs_to_bytes(device_id: str, side: ProgramsSide) -> bytes:
    """Return the record."""
    return pb.StoredTwinPrograms(
        schema=SCHEMA,
        device_id=device_id,
        revision=side.revision,
        programs=map(program_to_proto, side.programs),
        time=codec.timestamp(side.time),
        author=side.author,
        as_of=side.as_of,
    ).SerializeToString(deterministic=True)


def programs_from_bytes(data: bytes) -> ProgramsSide:
    """Return the programs of a record."""
    stored = pb.StoredTwinPrograms.FromString(data)
    return ProgramsSide(
        stored.revision,
        tuple(map(program_from_proto, stored.programs)),
        codec.moment(stored.time),
        stored.author,
        stored.as_of,
    )
