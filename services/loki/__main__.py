"""`python -m services.loki`: builds Loki and runs it."""

from __future__ import annotations

import asyncio
import contextlib

import grpc.aio

from services.chassis import channel
from services.chassis.clock import SystemClock
from services.chassis.run import Runtime, run
from services.domain.errors import YggError
from services.loki.adapters.fleet import RegistryFleet
from services.loki.adapters.languages import LuaCommand, SchemeCommand
from services.loki.adapters.live_worker import LiveWorker
from services.loki.adapters.mesh import GrpcMesh
from services.loki.adapters.peers import NatsPeers
from services.loki.adapters.pipeline import BridgePipeline
from services.loki.adapters.pool import Prepare, WorkerPool
from services.loki.adapters.program_events import ProgramEvents
from services.loki.adapters.program_records import NatsRecords
from services.loki.adapters.publisher import NatsPublisher
from services.loki.adapters.twins import RegistryTwins
from services.loki.api import NAME, LokiApi
from services.loki.config import LokiSettings
from services.loki.health import HealthTree
from services.loki.model import Language
from services.loki.programs.api import NAME as PROGRAMS
from services.loki.programs.api import ProgramApi
from services.loki.programs.manager import Manager
from services.loki.programs.queries import InstanceQueries
from services.loki.programs.service import Programs
from services.loki.programs.twins import TwinReporter
from services.loki.programs.workers import ProgramWorkers
from services.loki.scripts.api import NAME as SCRIPTS
from services.loki.scripts.api import ScriptApi
from services.loki.scripts.catalogue import Catalogue
from services.loki.scripts.checks import Checker
from services.loki.scripts.logs import ScriptLogs
from services.loki.scripts.repl import Repl
from services.loki.scripts.rpc import ScriptMethods, ScriptReflection
from services.loki.scripts.service import Scripts
from services.loki.scripts.testing import ScriptTester
from services.loki.service import Loki
from yggdrasil.loki.v1 import loki_pb2_grpc, program_pb2_grpc, script_pb2_grpc

SETTLE_S = 5.0


async def serve_scripts(
    runtime: Runtime[LokiSettings],
    loki: Loki,
    pools: dict[Language, WorkerPool],
    mesh: GrpcMesh,
    commands: dict[Language, Prepare],
    clock: SystemClock,
    programs: Programs,
) -> None:
    """Serve registered scripts: their service, their methods and their descriptions for reflection."""
    catalogue, logs = await Catalogue.open(runtime.js), ScriptLogs(runtime.nats.client)
    runtime.spawn(catalogue.run(), "scripts")
    runtime.spawn(logs.run(), "script logs")
    scripts = Scripts(loki, catalogue, mesh, logs, clock)

    async def start(language: Language) -> LiveWorker:
        return await LiveWorker.start(await commands[language]())

    repl = Repl(start, mesh, NatsPublisher(runtime.nats.client, clock), clock)
    api = ScriptApi(scripts, Checker(loki, mesh, programs.compiles), ScriptTester({**pools}, mesh, clock), repl, logs)
    runtime.server.add(SCRIPTS, lambda server: script_pb2_grpc.add_ScriptServiceServicer_to_server(api, server))
    runtime.server.add_dynamic(ScriptMethods(scripts), ScriptReflection(scripts))


async def serve_programs(
    runtime: Runtime[LokiSettings],
    registry: grpc.aio.Channel,
    mesh: GrpcMesh,
    commands: dict[Language, Prepare],
    clock: SystemClock,
) -> Programs:
    """Serve deployed programs: their records, the instances of this replica, and their service."""

    async def start(language: Language) -> LiveWorker:
        return await LiveWorker.start(await commands[language]())

    replica, client = runtime.settings.instance_id, runtime.nats.client
    records, fleet, peers = NatsRecords(replica, runtime.js, clock), RegistryFleet(registry), NatsPeers(client, replica)
    await records.open()
    workers = ProgramWorkers(start, runtime.settings.program_workers)
    manager = Manager(replica, records, fleet, workers, peers, mesh, NatsPublisher(client, clock), clock)
    reporter = TwinReporter(replica, records, manager.desired, manager.living, RegistryTwins(registry))
    records.changed, records.touched = manager.wake, reporter.touch

    def fleet_changed() -> None:
        manager.wake()
        reporter.touch(None)

    fleet.changed = fleet_changed
    programs = Programs(records, fleet, manager, workers, clock)
    queries = InstanceQueries(programs, manager, peers, clock)
    events = ProgramEvents(client, runtime.js, manager.dispatch, manager.listens)

    async def live() -> None:
        try:
            await records.ready()
            await fleet.ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(reporter.run(), name="twins")
                tasks.create_task(manager.run(), name="manager")
        finally:
            await workers.close()
            with contextlib.suppress(YggError):
                await records.leave()

    for task in (records.run(), fleet.run(), peers.run(), events.run(), live()):
        runtime.spawn(task, "programs")
    await peers.serve(queries.answer)
    api = ProgramApi(programs, queries, peers)
    runtime.server.add(PROGRAMS, lambda server: program_pb2_grpc.add_ProgramServiceServicer_to_server(api, server))
    return programs


async def compose(runtime: Runtime[LokiSettings]) -> dict[str, str]:
    """Serve Loki: pools, mesh and servicer; ready once each language is known to run or not."""
    found, clock = runtime.settings, SystemClock()
    commands: dict[Language, Prepare] = {
        Language.LUA: LuaCommand(),
        Language.SCHEME: SchemeCommand(found.data_dir, found.guile),
    }
    pools = {
        language: WorkerPool(
            language,
            command,
            size=found.workers,
            max_size=found.max_workers,
            queue=found.queue,
            queue_wait_s=found.queue_wait_s,
        )
        for language, command in commands.items()
    }
    for language, pool in pools.items():
        runtime.spawn(pool.maintain(), f"{language.value} workers")
    registry, bridge = (
        channel.connect(endpoint, runtime.files, service)
        for service, endpoint in (("registry", found.registry_endpoint), ("jotunheim_bridge", found.bridge_endpoint))
    )
    for service, opened in (("registry", registry), ("jotunheim_bridge", bridge)):
        await runtime.stack.enter_async_context(opened)
        runtime.depends_on(service, opened)
    pipeline = BridgePipeline(bridge)
    runtime.stack.push_async_callback(pipeline.close)
    mesh = GrpcMesh(registry, bridge, pipeline)
    loki = Loki(pools, mesh, NatsPublisher(runtime.nats.client, clock), clock)
    programs = await serve_programs(runtime, registry, mesh, commands, clock)
    api = LokiApi(loki, HealthTree(mesh, pools, found.workers), programs.workers_of)
    await serve_scripts(runtime, loki, pools, mesh, commands, clock, programs)
    runtime.server.add(NAME, lambda server: loki_pb2_grpc.add_LokiServiceServicer_to_server(api, server))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            await asyncio.gather(*(pool.settled() for pool in pools.values()))
    return {engine.language.value: engine.version or engine.problem for engine in loki.engines()}


if __name__ == "__main__":
    run("loki", LokiSettings, compose)
