"""Packages and deployments, as the benchmarks of programs need them."""

from __future__ import annotations

from typing import Any

from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import program_pb2 as pb


def package(name: str, source: str, language: Any = lp.LANGUAGE_LUA) -> pb.ProgramPackage:
    """A package that may call the host a thousand times a second."""
    limits = pb.ProgramLimits(host_calls_per_second=1000)
    manifest = pb.ProgramManifest(id=name, version="1.0.0", language=language, limits=limits)
    return pb.ProgramPackage(manifest=manifest, source=source)


async def deployed(programs: Any, what: pb.ProgramPackage, deployment: str, **target: Any) -> None:
    """Loads it, and deploys it under that name."""
    await programs.LoadProgram(pb.LoadProgramRequest(package=what), timeout=30)
    await deploy(programs, what, deployment, **target)


async def deploy(programs: Any, what: pb.ProgramPackage, deployment: str, **target: Any) -> None:
    """Deploys what is loaded."""
    request = pb.DeployProgramRequest(
        program_id=what.manifest.id, deployment_id=deployment, target=pb.ProgramTarget(**target)
    )
    await programs.DeployProgram(request, timeout=30)
