"""Loki with its ProgramService as a real process on the real mesh, and shorthands for its RPCs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from services.chassis import codec
from services.domain.values import Value
from tests.fixtures.mesh import Processes, client
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService
from tests.fixtures.wait import eventually
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.loki.v1 import program_pb2_grpc

LUA, SCHEME = lp.LANGUAGE_LUA, lp.LANGUAGE_SCHEME
RUNNING = pb.INSTANCE_STATE_RUNNING


def start_loki(start: StartService, processes: Processes, cache: Path, **settings: object) -> ServiceProcess:
    """Start a replica and wait until it is ready."""
    process = start(
        "loki",
        nats_url=processes.nats.url,
        registry_endpoint=processes.endpoint("registry"),
        bridge_endpoint=processes.endpoint("jotunheim_bridge"),
        data_dir=cache,
        workers=1,
        program_workers=1,
        **settings,
    )
    try:
        process.ready(60)
    except TimeoutError:
        print("\n".join(process.lines))
        raise
    return process


class Programs:
    """A client of one replica."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: Any = program_pb2_grpc.ProgramServiceStub(channel)
        self.deployed: list[str] = []

    @classmethod
    def of(cls, process: ServiceProcess, pki: Pki) -> tuple[Programs, grpc.aio.Channel]:
        """Return a client and its channel, which the caller closes."""
        channel = client(process.listen, pki)
        return cls(channel), channel

    async def load(
        self, name: str, /, source: str, language: Any = LUA, version: str = "1.0.0", **manifest: Any
    ) -> pb.LoadProgramResponse:
        """Load a package into the store."""
        limits = manifest.pop("limits", {})
        if "run_timeout_s" in limits:
            run_timeout = Duration()
            run_timeout.FromMilliseconds(int(limits.pop("run_timeout_s") * 1000))
            limits["run_timeout"] = run_timeout
        made = pb.ProgramManifest(
            id=name, version=version, language=language, limits=pb.ProgramLimits(**limits), **manifest
        )
        request = pb.LoadProgramRequest(package=pb.ProgramPackage(manifest=made, source=source))
        answer: pb.LoadProgramResponse = await self.stub.LoadProgram(request, timeout=60)
        return answer

    async def deploy(self, name: str, **fields: Any) -> pb.DeployProgramResponse:
        """Deploy to the mesh, unless `fields` name a device or a selector."""
        target: dict[str, Any] = {key: fields.pop(key) for key in ("device_id", "selector") if key in fields} or {
            "mesh": True
        }
        request = pb.DeployProgramRequest(program_id=name, target=pb.ProgramTarget(**target), **fields)
        answer: pb.DeployProgramResponse = await self.stub.DeployProgram(request, timeout=30)
        self.deployed.append(answer.deployment.id)
        return answer

    async def run(self, name: str, source: str, language: Any = LUA, **manifest: Any) -> None:
        """Load a program, deploy it to the mesh, and wait until it runs."""
        await self.load(name, source, language, **manifest)
        await self.deploy(name)
        await self.state(name, RUNNING)

    async def instances(self, name: str = "") -> list[pb.ProgramInstance]:
        """Return the instances of a deployment."""
        return list((await self.stub.ListInstances(pb.ListInstancesRequest(deployment_id=name), timeout=10)).instances)

    async def state(self, name: str, state: Any, within_s: float = 30, count: int = 1) -> list[pb.ProgramInstance]:
        """Wait until exactly `count` instances exist, all in the given state."""
        return await self.instances_when(
            name, lambda found: len(found) == count and all(each.state == state for each in found), within_s
        )

    async def instances_when(
        self, name: str, expected: Callable[[list[pb.ProgramInstance]], bool], within_s: float = 20
    ) -> list[pb.ProgramInstance]:
        """Return the instances of a deployment as soon as they satisfy `expected`."""

        async def check() -> list[pb.ProgramInstance]:
            found = await self.instances(name)
            assert expected(found), found
            return found

        instances: list[pb.ProgramInstance] = await eventually(check, within_s)
        return instances

    async def eval(self, name: str, source: str, device: str = "") -> Value:
        """Evaluate an expression in an instance."""
        ref = pb.InstanceRef(deployment_id=name, device_id=device)
        answer = await self.stub.EvalProgram(pb.EvalProgramRequest(instance=ref, source=source), timeout=30)
        return codec.value_from_proto(answer.value) if answer.HasField("value") else None

    async def until(self, name: str, source: str, expected: Value, device: str = "", within_s: float = 20) -> None:
        """Wait until an expression has a value."""
        await self.value_when(name, source, lambda value: value == expected, device, within_s)

    async def value_when(
        self, name: str, source: str, expected: Callable[[Any], bool], device: str = "", within_s: float = 20
    ) -> Value:
        """Return the value of an expression once it satisfies `expected`; retry while the instance moves."""
        found: list[Value] = []

        async def check() -> bool:
            try:
                found[:] = [await self.eval(name, source, device)]
            except grpc.aio.AioRpcError as e:
                assert e.code() is not grpc.StatusCode.FAILED_PRECONDITION, e.details()
                raise
            assert expected(found[0]), f"{source} is {found[0]!r}: {await self.instances(name)}"
            return True

        await eventually(check, within_s)
        return found[0]

    async def until_error(self, name: str, part: str, within_s: float = 10) -> None:
        """Wait until the last error contains a text."""
        await self.instances_when(name, lambda found: part in found[0].last_error, within_s)

    async def epoch(self, name: str, epoch: int, within_s: float = 20) -> None:
        """Wait until the only instance runs in an epoch."""
        await self.instances_when(
            name, lambda found: [(one.epoch, one.state) for one in found] == [(epoch, RUNNING)], within_s
        )

    async def statistics(self, name: str, device: str = "") -> pb.ProgramStatistics:
        """Return the statistics of an instance."""
        ref = pb.InstanceRef(deployment_id=name, device_id=device)
        answer = await self.stub.GetStatistics(pb.GetStatisticsRequest(instance=ref), timeout=10)
        found: pb.ProgramStatistics = answer.statistics
        return found

    async def history(self, name: str, device: str = "") -> list[pb.ProgramCall]:
        """Return the last turns of an instance, newest first."""
        ref = pb.InstanceRef(deployment_id=name, device_id=device)
        answer = await self.stub.ListCallHistory(pb.ListCallHistoryRequest(instance=ref, limit=50), timeout=10)
        return list(answer.calls)

    async def turns(self, name: str) -> list[pb.ProgramCall]:
        """Return the last turns; an empty list if the instance does not run."""
        try:
            return await self.history(name)
        except grpc.aio.AioRpcError as e:
            if e.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return []

    async def lines(self, name: str) -> list[str]:
        """Return the log so far."""
        request = pb.WatchLogsRequest(deployment_id=name, tail=500)
        return [line.entry.message async for line in self.stub.WatchLogs(request, timeout=10)]

    async def unload_all(self) -> None:
        """Unload every deployment of this client."""
        for name in self.deployed:
            try:
                await self.stub.UnloadProgram(pb.UnloadProgramRequest(deployment_id=name), timeout=10)
            except grpc.aio.AioRpcError as e:
                if e.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
        self.deployed.clear()
