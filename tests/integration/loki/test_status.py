"""`ygg status` reports the missing dependency of a service (a killed service, NATS, an engine) and loki's workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fixtures.mesh import Mesh
from tests.fixtures.process import StartService
from tests.fixtures.wait import eventually
from tests.integration.loki.programs import Programs, start_loki
from ygg.client import Mesh as Client
from ygg.contexts import Context
from ygg.health import ServiceHealth, collect


class Looks:
    """Collects the status of a mesh without ota."""

    def __init__(self, mesh: Mesh, loki: str) -> None:
        self._context = Context(
            identity=str(mesh.pki.directory("user", "operator")),
            registry=mesh.processes.endpoint("registry"),
            jotunheim_bridge=mesh.processes.endpoint("jotunheim_bridge"),
            loki=loki,
        )

    def __call__(self) -> dict[str, ServiceHealth]:
        with Client("test", self._context) as client:
            return {one.service: one for one in collect(client)}

    def misses(self, **expected: str) -> bool:
        found = self()
        return all(" ".join(found[name].missing) == missing for name, missing in expected.items())


@pytest.fixture
def status(own_mesh: Mesh, start_service: StartService, scheme_cache: Path) -> Looks:
    return Looks(own_mesh, start_loki(start_service, own_mesh.processes, scheme_cache).listen)


async def test_service_is_not_ready_when_its_peer_is_killed(own_mesh: Mesh, status: Looks) -> None:
    await eventually(lambda: status.misses(jotunheim_bridge="", loki=""))
    own_mesh.processes.running["registry"].kill()
    await eventually(lambda: status.misses(jotunheim_bridge="registry", loki="registry"))
    found = status()
    assert [(found[name].ready, found[name].serving) for name in ("jotunheim_bridge", "loki")] == [(False, True)] * 2
    assert found["loki"].note.startswith("registry is unavailable")
    assert not found["registry"].serving
    own_mesh.processes.running["jotunheim_bridge"].kill()
    await eventually(lambda: status.misses(loki="jotunheim_bridge registry"))
    for name in ("registry", "jotunheim_bridge"):
        own_mesh.processes.start(name)
    await eventually(lambda: status.misses(jotunheim_bridge="", loki=""))
    assert status()["loki"].ready
    assert status()["loki Lua"].note == "1 of 1 worker, 0 busy, 0 restarts"


async def test_killed_nats_is_shown_and_missed_by_every_service(own_mesh: Mesh, status: Looks) -> None:
    await eventually(lambda: status.misses(registry="", jotunheim_bridge="", loki=""))
    assert status()["nats"].ready
    own_mesh.processes.nats.kill()
    await eventually(lambda: status.misses(registry="nats", jotunheim_bridge="nats", loki="nats"))
    found = status()
    assert not any(found[name].ready for name in ("registry", "jotunheim_bridge", "loki", "nats"))
    assert found["nats"].note == "no connection from registry, jotunheim_bridge, loki"
    own_mesh.processes.nats.start()
    await eventually(lambda: status()["nats"].ready)


async def test_workers_of_programs_are_a_row_with_their_restarts(
    own_mesh: Mesh, start_service: StartService, scheme_cache: Path
) -> None:
    loki = start_loki(start_service, own_mesh.processes, scheme_cache)
    status = Looks(own_mesh, loki.listen)
    row = status()["loki Lua programs"]
    assert (row.ready, row.note) == (True, "0 of 0 workers, 0 restarts")
    programs, channel = Programs.of(loki, own_mesh.pki)
    async with channel:
        await programs.run("idle", "n = 0")
        assert status()["loki Lua programs"].note == "1 of 1 worker, 0 restarts"
        os.kill((await programs.instances("idle"))[0].worker_pid, signal.SIGKILL)
        await eventually(lambda: status()["loki Lua programs"].note == "1 of 1 worker, 1 restart")
    found = status()
    assert found["loki Lua"].note == "1 of 1 worker, 0 busy, 0 restarts"
    assert found["loki Scheme programs"].note == "0 of 0 workers, 0 restarts"


async def test_missing_guile_makes_loki_not_ready(
    own_mesh: Mesh, start_service: StartService, scheme_cache: Path
) -> None:
    loki = start_loki(start_service, own_mesh.processes, scheme_cache, guile="/nowhere/guile")
    status = Looks(own_mesh, loki.listen)
    await eventually(lambda: status.misses(loki="Scheme"))
    found = status()
    assert (found["loki"].ready, found["loki"].serving) == (False, True)
    assert "no Scheme" in found["loki"].note
    assert not found["loki Scheme"].ready
    assert "guile" in found["loki Scheme"].note.lower()
