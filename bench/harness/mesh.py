"""nats-server, registry and bridge as in production, on loopback, with the permissions of a mesh."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc.aio

from bench.harness.identities import BenchPki
from bench.harness.machine import BUILD
from bench.harness.process import BenchError, Child, free_ports, program, until
from services.chassis import channel
from ygg.mesh.natsconf import NatsPlan, render

_PREFIX = {"jotunheim_bridge": "BRIDGE"}


class Mesh:
    """Ports are fixed, so that a part can be killed and restarted."""

    def __init__(self, pki: BenchPki, folder: Path) -> None:
        self.pki, self.folder = pki, folder
        ports = free_ports(5)
        names = ("nats", "monitor", "registry", "jotunheim_bridge", "link")
        self.ports = dict(zip(names, ports, strict=True))
        self.running: dict[str, Child] = {}
        self._starts = 0

    @property
    def nats_url(self) -> str:
        """URL for services."""
        return f"tls://127.0.0.1:{self.ports['nats']}"

    @property
    def link(self) -> str:
        """HOST:PORT for devices."""
        return f"127.0.0.1:{self.ports['link']}"

    def start(self) -> None:
        """Start all three."""
        self.start_nats()
        self.start_service("registry", data_dir=str(self.folder / "registry"))
        self.start_bridge()

    def start_nats(self) -> None:
        """Start nats-server."""
        plan = NatsPlan(
            listen=f"127.0.0.1:{self.ports['nats']}",
            monitor=f"127.0.0.1:{self.ports['monitor']}",
            identity=self.pki.directory("service", "nats"),
            store=self.folder / "nats",
        )
        config = self.folder / "nats.conf"
        config.write_text(render(plan))
        self.running["nats"] = Child("nats", [program("nats-server"), "-c", str(config)], self.folder / "nats.log")
        until(self._healthy, 20, f"nats-server, see {self.folder / 'nats.log'}")

    def _healthy(self) -> bool:
        if not self.running["nats"].alive():
            raise BenchError(f"nats-server has exited, see {self.folder / 'nats.log'}")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['monitor']}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)

    def start_service(self, name: str, within_s: float = 30.0, **settings: str) -> Child:
        """Start a service and wait until it is ready, for at most `within_s` seconds."""
        prefix = f"YGG_{_PREFIX.get(name, name.upper())}_"
        given = {
            "listen": f"127.0.0.1:{self.ports[name]}",
            "identity": str(self.pki.directory("service", name)),
            "nats_url": self.nats_url,
            **settings,
        }
        self._starts += 1
        log = self.folder / f"{name}-{self._starts}.log"
        environment = {prefix + key.upper(): value for key, value in given.items()}
        child = Child(name, [sys.executable, "-m", f"services.{name}"], log, environment)
        self.running[name] = child
        child.ready(within_s)
        return child

    def start_bridge(self) -> Child:
        """Start the bridge with default settings: a heartbeat of ten seconds."""
        return self.start_service(
            "jotunheim_bridge",
            registry_endpoint=f"127.0.0.1:{self.ports['registry']}",
            link_listen=self.link,
        )

    @property
    def bridge(self) -> Child:
        """The running bridge."""
        return self.running["jotunheim_bridge"]

    def channel(self, name: str) -> grpc.aio.Channel:
        """Return a channel to `registry` or `jotunheim_bridge` as a user."""
        return channel.connect(f"127.0.0.1:{self.ports[name]}", self.pki.files("user", "bench"), name)

    def cpu_s(self) -> dict[str, float]:
        """Return the processor seconds of each running part."""
        return {name: child.cpu_s() for name, child in self.running.items() if child.alive()}

    def stop(self) -> None:
        """Stop all parts in reverse order."""
        for child in reversed(self.running.values()):
            child.stop()


@contextlib.contextmanager
def running_mesh(pki: BenchPki, start: Callable[[Mesh], None] = Mesh.start) -> Iterator[Mesh]:
    """Run a mesh in a temporary folder; logs are kept in build/bench/logs. `start` selects its parts."""
    folder = Path(tempfile.mkdtemp(prefix="ygg-bench-"))
    mesh = Mesh(pki, folder)
    try:
        start(mesh)
        yield mesh
    finally:
        mesh.stop()
        kept = BUILD / "logs"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("nats", "registry", "*.sock"))
        shutil.rmtree(folder, ignore_errors=True)
