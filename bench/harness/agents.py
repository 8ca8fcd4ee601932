"""`ygg-agent --count N`: N real devices in one process, and its control socket for their boards."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bench.harness.machine import ROOT
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError, Child, until

POLL_S = 0.1
AGENT = ROOT / "build" / "firmware" / "posix" / "ygg-agent"


@dataclass(frozen=True, slots=True)
class Device:
    """A line of the control socket's `list`."""

    id: str
    state: str
    counters: dict[str, int]


class Agents:
    """Devices PREFIX-1 to PREFIX-COUNT, connected to the bridge of the mesh."""

    def __init__(self, mesh: Mesh, prefix: str, count: int, *options: str) -> None:
        mesh.pki.issue_devices(prefix, count)
        self.prefix, self.count = prefix, count
        self.control = mesh.folder / f"{prefix}.sock"
        argv = [str(AGENT), "--id", prefix, "--count", str(count), "--identities", str(mesh.pki.devices)]
        argv += ["--connect", mesh.link, "--ca", str(mesh.pki.service_ca), "--control", str(self.control), *options]
        self.process = Child(f"agents {prefix}", argv, mesh.folder / f"agents-{prefix}-{time.monotonic_ns()}.log")

    @property
    def ids(self) -> list[str]:
        """Device ids."""
        return [f"{self.prefix}-{index}" for index in range(1, self.count + 1)]

    def ask(self, *commands: str, end: bytes = b"\n") -> list[str]:
        """Send commands on one connection; return the response lines, one per command unless `end` is given."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.control))
            connection.sendall("".join(f"{command}\n" for command in commands).encode())
            return _answers(connection, len(commands), end)

    def devices(self) -> list[Device]:
        """Return the status of each device."""
        found = []
        for line in self.ask("list", end=b".\n"):
            name, state, *counters = line.split()
            pairs = (counter.partition("=") for counter in counters)
            found.append(Device(name, state, {key: int(value) for key, _, value in pairs if value.isdigit()}))
        return found

    def states(self) -> Counter[str]:
        """Return the number of devices in each state."""
        return Counter(device.state for device in self.devices())

    def await_active(self, within_s: float) -> None:
        """Wait until every device is active."""
        until(self._all_active, within_s, f"{self.count} agents active, see {self.process.log}", POLL_S)

    def _all_active(self) -> bool:
        if not self.process.alive():
            raise BenchError(f"the agents have exited, see {self.process.log}")
        return self.states()["active"] == self.count

    def times(self, event: str) -> list[float]:
        """Return when devices logged `event`, in seconds since 1970, ascending."""
        field, found = f"event={event}", []
        with self.process.log.open(errors="replace") as log:
            for line in log:
                words = line.split()
                if field in words:
                    found.append(datetime.fromisoformat(words[0].replace("Z", "+00:00")).timestamp())
        return sorted(found)

    def stop(self) -> None:
        """Stop the agents, which say goodbye."""
        self.process.stop()


def _answers(connection: socket.socket, commands: int, end: bytes) -> list[str]:
    data = bytearray()
    while (end == b"\n" and data.count(b"\n") < commands) or not data.endswith(end):
        part = connection.recv(1 << 16)
        if not part:
            raise BenchError("the agents' control socket was closed")
        data += part
    lines = data.decode().splitlines()
    errors = [line for line in lines if line.startswith("error")]
    if errors:
        raise BenchError(f"the board responded: {errors[0]}")
    return lines[:-1] if end == b".\n" else lines


@contextlib.contextmanager
def agents(mesh: Mesh, prefix: str, count: int, *options: str, within_s: float = 300.0) -> Iterator[Agents]:
    """Run agents, active on entry and stopped on exit."""
    fleet = Agents(mesh, prefix, count, *options)
    try:
        fleet.await_active(within_s)
        yield fleet
    finally:
        fleet.stop()
