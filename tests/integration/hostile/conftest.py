"""All four services as real processes on a real nats-server, one set for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from tests.fixtures.mesh import Processes, client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService, starter

SERVICES = ("registry", "jotunheim_bridge", "loki", "ota")


@dataclass
class Everything:
    """The services by name. `start` starts one again on its data."""

    nats: NatsServer
    start_service: StartService
    directory: Path
    mesh: Processes
    running: dict[str, ServiceProcess]

    def start(self, name: str) -> ServiceProcess:
        """Start a service, after the registry and the bridge."""
        if name in ("registry", "jotunheim_bridge"):
            process = self.mesh.start(name)
        else:
            settings: dict[str, object] = {
                "nats_url": self.nats.url,
                "data_dir": self.directory / name,
                "registry_endpoint": self.mesh.endpoint("registry"),
            }
            if name == "loki":
                settings["bridge_endpoint"] = self.mesh.endpoint("jotunheim_bridge")
            process = self.start_service(name, **settings)
        process.ready()
        self.running[name] = process
        return process


def everything_on(nats: NatsServer, start: StartService, directory: Path) -> Everything:
    """Run all four services, ready."""
    made = Everything(nats, start, directory, Processes(nats, start, directory), {})
    for name in SERVICES:
        made.start(name)
    return made


@pytest.fixture(scope="module")
def everything(nats_server: NatsServer, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """All four services, shared by the tests of a module."""
    with starter(pki) as start:
        yield everything_on(nats_server, start, tmp_path_factory.mktemp("everything"))


@pytest.fixture
async def channels(everything: Everything, pki: Pki) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """A user's channel to each service."""
    made = {name: client(process.listen, pki) for name, process in everything.running.items()}
    yield made
    for channel in made.values():
        await channel.close()
