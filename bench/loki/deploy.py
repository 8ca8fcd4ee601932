"""Packages and deployments for the benchmarks of programs."""

from __future__ import annotations

from typing import Any

from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import program_pb2 as pb


def package(name: str, source: str, language: Any = lp.LANGUAGE_LUA) -> pb.ProgramPackage:
    """Return a package with a limit of 1,000 host calls per second."""
    limits = pb.ProgramLimits(host_calls_per_second=1000)
    manifest = pb.ProgramManifest(id=name, version="1.0.0", language=language, limits=limits)
    return pb.ProgramPackage(manifest=manifest, source=source)


async def load_and_deploy(programs: Any, loaded: pb.ProgramPackage, deployment: str, **target: Any) -> None:
    """Load a package and deploy it under the name `deployment`."""
    await programs.LoadProgram(pb.LoadProgramRequest(package=loaded), timeout=30)
    await deploy(programs, loaded, deployment, **target)


async def deploy(programs: Any, loaded: pb.ProgramPackage, deployment: str, **target: Any) -> None:
    """Deploy a loaded package."""
    request = pb.DeployProgramRequest(
        program_id=loaded.manifest.id, deployment_id=deployment, target=pb.ProgramTarget(**target)
    )
    await programs.DeployProgram(request, timeout=30)
