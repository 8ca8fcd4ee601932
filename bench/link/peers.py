"""Processes of the peers: bench-peer (bench/c), Mosquitto, the relay, with their committed configuration."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import packages
from bench.harness.identities import BenchPki
from bench.harness.machine import BUILD, ROOT
from bench.harness.process import BenchError, Child, accepts, free_ports, until

BENCH_PEER = BUILD / "bench-peer"
_CONFIG = ROOT / "bench" / "peers" / "mosquitto.conf"
MOSQUITTO = "Mosquitto TLS"


class Broker:
    """One Mosquitto on its own port."""

    def __init__(self, pki: BenchPki, folder: Path) -> None:
        self.pki, self.port = pki, free_ports(1)[0]
        values = {
            "PORT": str(self.port),
            "IDENTITY": str(pki.directory("service", "mosquitto")),
            "CLIENT_CA": str(pki.broker_ca()),
            "DATA": str(folder),
            "USER": getpass.getuser(),
        }
        text = _CONFIG.read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        config = folder / "mosquitto.conf"
        config.write_text(text)
        self.process = Child(
            "mosquitto", [packages.program("mosquitto", "mosquitto"), "-c", str(config)], folder / "mosquitto.log"
        )
        until(self._listens, 20, f"mosquitto, see {folder / 'mosquitto.log'}")

    def _listens(self) -> bool:
        if not self.process.alive():
            raise BenchError(f"mosquitto has exited: {self.process.log.read_text()}")
        return accepts(self.port)


@contextlib.contextmanager
def broker(pki: BenchPki) -> Iterator[Broker]:
    """Run a broker with an empty store."""
    folder = Path(tempfile.mkdtemp(prefix="ygg-bench-mqtt-"))
    found: Broker | None = None
    try:
        found = Broker(pki, folder)
        yield found
    finally:
        if found is not None:
            found.process.stop()
        shutil.rmtree(folder, ignore_errors=True)


def bench_peer(pki: BenchPki, mode: str, port: int, name: str, **options: object) -> Child:
    """Start bench-peer; an option that is True becomes a flag."""
    argv = [str(BENCH_PEER), "--ca", str(pki.service_ca), "--identities", str(pki.devices)]
    argv += ["--id", name, "--port", str(port)]
    for key, value in options.items():
        flag = f"--{key.replace('_', '-')}"
        argv += [flag] if value is True else [] if value in (False, None) else [flag, str(value)]
    return Child(f"bench-peer {mode}", [*argv, mode], BUILD / f"bench-peer-{mode}.log")


def one_result(child: Child) -> dict[str, Any]:
    """Return the only result line of a process, and stop it."""
    try:
        return child.line()
    finally:
        child.stop()


@contextlib.contextmanager
def relay(pki: BenchPki) -> Iterator[tuple[Child, int, int]]:
    """Run the bare relay and echo; yield the process, its gRPC port and its device port."""
    identity = pki.directory("service", "jotunheim_bridge")
    argv = [sys.executable, "-m", "bench.link.relay", str(identity)]
    child = Child("relay", argv, BUILD / "relay.log")
    try:
        ports = child.line()
        yield child, int(ports["grpc"]), int(ports["link"])
    finally:
        child.stop()
