"""nats-server, registry and bridge as they run in production, on loopback, with the mesh's own permissions."""

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
    """Ports stay, so that a part can be killed and started again."""

    def __init__(self, pki: BenchPki, folder: Path) -> None:
        self.pki, self.folder = pki, folder
        ports = free_ports(5)
        names = ("nats", "monitor", "registry", "jotunheim_bridge", "link")
        self.ports = dict(zip(names, ports, strict=True))
        self.running: dict[str, Child] = {}
        self._starts = 0

    @property
    def nats_url(self) -> str:
        """Where services connect."""
        return f"tls://127.0.0.1:{self.ports['nats']}"

    @property
    def link(self) -> str:
        """Where devices connect."""
        return f"127.0.0.1:{self.ports['link']}"

    def start(self) -> None:
        """All three."""
        self.start_nats()
        self.start_service("registry", data_dir=str(self.folder / "registry"))
        self.start_bridge()

    def start_nats(self) -> None:
        """Its own nats-server."""
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
            raise BenchError(f"nats-server ended, see {self.folder / 'nats.log'}")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['monitor']}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)

    def start_service(self, name: str, within_s: float = 30.0, **settings: str) -> Child:
        """Starts a service and waits until it is ready, at most `within_s` seconds."""
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
        """With the settings that it has by default: a heartbeat of ten seconds."""
        return self.start_service(
            "jotunheim_bridge",
            registry_endpoint=f"127.0.0.1:{self.ports['registry']}",
            link_listen=self.link,
        )

    @property
    def bridge(self) -> Child:
        """The bridge that runs now."""
        return self.running["jotunheim_bridge"]

    def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to `registry` or `jotunheim_bridge` as a user."""
        return channel.connect(f"127.0.0.1:{self.ports[name]}", self.pki.files("user", "bench"), name)

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds of each part so far."""
        return {name: child.cpu_s() for name, child in self.running.items() if child.alive()}

    def stop(self) -> None:
        """All, the last started first."""
        for child in reversed(self.running.values()):
            child.stop()


@contextlib.contextmanager
def running_mesh(pki: BenchPki, start: Callable[[Mesh], None] = Mesh.start) -> Iterator[Mesh]:
    """A mesh in a folder of its own, which goes with it; its logs stay in build/bench/logs. `start` says what of it."""
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
