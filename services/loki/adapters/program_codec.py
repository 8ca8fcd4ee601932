"""Conversions between program.proto and the model of programs, for the API and for records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from services.chassis import codec, requirements_codec
from services.domain import text
from services.domain.errors import in_field
from services.domain.matcher import ClauseKind, FailedClause
from services.domain.selectors import parse_selector
from services.loki.messages import duration, language_of, language_to_proto, type_of, type_to_proto
from services.loki.programs import model
from services.loki.programs.errors import InvalidPackageError
from services.loki.programs.lifecycle import State
from services.loki.programs.model import Dependency, Manifest, Package, Parameter, Version
from services.loki.programs.placement import Canary, Deployment, Ref, Target
from services.loki.programs.ports import InstanceStatus
from yggdrasil.common.v1 import requirement_pb2 as rp
from yggdrasil.loki.v1 import program_pb2 as pb


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def package_from_proto(message: pb.ProgramPackage) -> Package:
    """Return the package, not yet checked; raise InvalidPackageError, InvalidRequestError or InvalidIdError."""
    return Package(manifest_from_proto(message.manifest), text.normalized(message.source))


def manifest_from_proto(message: pb.ProgramManifest) -> Manifest:
    """Return the manifest, not yet checked."""
    limits = message.limits
    return Manifest(
        id=message.id,
        version=Version.parse(message.version),
        language=language_of(message.language),
        name=message.name,
        description=message.description,
        author=message.author,
        create_time=codec.moment(message.create_time) if message.HasField("create_time") else None,
        parameters=tuple(
            Parameter(
                p.name,
                p.description,
                codec.value_from_proto(p.default_value) if p.HasField("default_value") else None,
                type_of(p.name, p.type),
                p.optional,
            )
            for p in message.parameters
        ),
        requires=requirements_codec.requirements(message.requirements, message.requires),
        checksum=message.checksum,
        dependencies=tuple(
            Dependency(d.id, Version.parse(d.minimum_version) if d.minimum_version else None)
            for d in message.dependencies
        ),
        limits=model.limits(
            memory_bytes=limits.memory_bytes,
            run_timeout_s=limits.run_timeout.seconds + limits.run_timeout.nanos / 1e9,
            store_bytes=limits.store_bytes,
            timers=limits.timers,
            host_calls_per_second=limits.host_calls_per_second,
            log_bytes_per_minute=limits.log_bytes_per_minute,
        ),
        auto_restart=message.auto_restart if message.HasField("auto_restart") else True,
        priority=message.priority,
    )


def manifest_to_proto(manifest: Manifest) -> pb.ProgramManifest:
    """Return the message; requirements in the text form."""
    limits = manifest.limits
    return pb.ProgramManifest(
        id=manifest.id,
        name=manifest.name,
        version=str(manifest.version),
        language=language_to_proto(manifest.language),
        description=manifest.description,
        author=manifest.author,
        create_time=codec.timestamp(manifest.create_time),
        parameters=[
            pb.ProgramParameter(
                name=p.name,
                description=p.description,
                default_value=None if p.default is None else codec.value_to_proto(p.default),
                type=type_to_proto(p.type),
                optional=p.optional,
            )
            for p in manifest.parameters
        ],
        requires=[str(requirement) for requirement in manifest.requires],
        checksum=manifest.checksum,
        dependencies=[
            pb.ProgramDependency(id=d.id, minimum_version=str(d.minimum) if d.minimum else "")
            for d in manifest.dependencies
        ],
        limits=pb.ProgramLimits(
            memory_bytes=limits.memory_bytes,
            run_timeout=duration(limits.run_timeout_s),
            store_bytes=limits.store_bytes,
            timers=limits.timers,
            host_calls_per_second=limits.host_calls_per_second,
            log_bytes_per_minute=limits.log_bytes_per_minute,
        ),
        auto_restart=manifest.auto_restart,
        priority=manifest.priority,
    )


def package_to_proto(package: Package) -> pb.ProgramPackage:
    """Return the message."""
    return pb.ProgramPackage(manifest=manifest_to_proto(package.manifest), source=package.source)


def target_from_proto(message: pb.ProgramTarget) -> Target:
    """Return the target; raise InvalidPackageError, or InvalidRequestError for an invalid selector."""
    which = message.WhichOneof("target")
    if which == "device_id" and message.device_id:
        return Target(device_id=message.device_id)
    if which == "selector" and message.selector:
        with in_field("target"):
            parse_selector(message.selector)
        return Target(selector=message.selector)
    if which == "mesh" and message.mesh:
        return Target()
    raise InvalidPackageError(
        "it is not said where to deploy", hint="A device, a selector, or the mesh.", field="target"
    )


def target_to_proto(target: Target) -> pb.ProgramTarget:
    """Return the message."""
    if target.device_id:
        return pb.ProgramTarget(device_id=target.device_id)
    return pb.ProgramTarget(selector=target.selector) if target.selector else pb.ProgramTarget(mesh=True)


def deployment_from_proto(message: pb.ProgramDeployment) -> Deployment:
    """Return the deployment of a record."""
    canary = None
    if message.HasField("canary"):
        canary = Canary(
            Version.parse(message.canary.version),
            message.canary.share_percent,
            message.canary.error_threshold,
            message.canary.errors,
            codec.moment(message.canary.start_time).timestamp(),
            _pins_from_proto(message.canary.packages),
        )
    return Deployment(
        id=message.id,
        program_id=message.program_id,
        version=Version.parse(message.version),
        target=target_from_proto(message.target),
        running=message.running,
        arguments=codec.values_from_proto(message.arguments),
        revision=message.revision,
        canary=canary,
        previous=Version.parse(message.previous_version) if message.previous_version else None,
        note=message.rollout_note,
        generation=message.generation,
        update_time_s=codec.moment(message.update_time).timestamp(),
        author=message.author,
        packages=_pins_from_proto(message.packages),
    )


def _pins_from_proto(found: Iterable[pb.LinkedPackage]) -> dict[str, Version]:
    return {one.id: Version.parse(one.version) for one in found}


def _pins_to_proto(pins: Mapping[str, Version]) -> list[pb.LinkedPackage]:
    return [pb.LinkedPackage(id=name, version=str(version)) for name, version in sorted(pins.items())]


def deployment_to_proto(deployment: Deployment) -> pb.ProgramDeployment:
    """Return the message."""
    canary = deployment.canary
    return pb.ProgramDeployment(
        id=deployment.id,
        program_id=deployment.program_id,
        version=str(deployment.version),
        target=target_to_proto(deployment.target),
        running=deployment.running,
        arguments=codec.values_to_proto(deployment.arguments),
        revision=deployment.revision,
        canary=None
        if canary is None
        else pb.ProgramCanary(
            version=str(canary.version),
            share_percent=canary.share_percent,
            error_threshold=canary.threshold,
            errors=canary.errors,
            start_time=codec.timestamp(_time(canary.start_time_s)),
            packages=_pins_to_proto(canary.packages),
        ),
        previous_version=str(deployment.previous) if deployment.previous else "",
        rollout_note=deployment.note,
        generation=deployment.generation,
        update_time=codec.timestamp(_time(deployment.update_time_s)),
        author=deployment.author,
        packages=_pins_to_proto(deployment.packages),
    )


def clause_from_proto(message: rp.FailedClause) -> FailedClause:
    """Return the clause of a record."""
    name = rp.ClauseKind.Name(message.kind).removeprefix("CLAUSE_KIND_")
    kind = ClauseKind[name] if name in ClauseKind.__members__ else ClauseKind.TYPE
    return FailedClause(kind, message.message, message.capability_id, message.member, message.requirement)


def instance_from_proto(message: pb.ProgramInstance) -> InstanceStatus:
    """Return the instance of a record."""
    return InstanceStatus(
        ref=Ref(message.deployment_id, message.device_id),
        program_id=message.program_id,
        version=Version.parse(message.version) if message.version else None,
        state=State(message.state or 1),
        problem=message.problem,
        failed=tuple(map(clause_from_proto, message.failed)),
        replica=message.replica,
        epoch=message.epoch,
        start_time=codec.moment(message.start_time) if message.HasField("start_time") else None,
        restarts=message.restarts,
        last_error=message.last_error,
        error_time=codec.moment(message.error_time) if message.HasField("error_time") else None,
        quarantined=message.quarantined,
        worker_pid=message.worker_pid,
        reported=codec.values_from_proto(message.reported),
    )


def instance_to_proto(status: InstanceStatus) -> pb.ProgramInstance:
    """Return the message."""
    return pb.ProgramInstance(
        deployment_id=status.ref.deployment,
        device_id=status.ref.device,
        program_id=status.program_id,
        version=str(status.version) if status.version else "",
        state=pb.InstanceState.ValueType(status.state.value),
        problem=status.problem,
        failed=[requirements_codec.clause_to_proto(clause) for clause in status.failed],
        replica=status.replica,
        epoch=status.epoch,
        start_time=codec.timestamp(status.start_time),
        restarts=status.restarts,
        last_error=status.last_error,
        error_time=codec.timestamp(status.error_time),
        quarantined=status.quarantined,
        worker_pid=status.worker_pid,
        reported=codec.values_to_proto(status.reported),
    )
