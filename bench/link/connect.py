"""connect_rate: connections per second when all devices connect at the same time; and full against resumed handshakes.

connect_rate measures C agents from their first SYN to the last contract, against MQTT clients from the first SYN to the
last CONNACK. The resumed figure uses one client for both sides, so bench-peer sends the agents' Hello itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
import subprocess
from pathlib import Path

from bench.harness.agents import AGENT, Agents, agents
from bench.harness.compare import alone, alternate, compared
from bench.harness.machine import pick, rounds
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError
from bench.harness.results import Metric
from bench.link import peers
from bench.link.stored import EventStream
from yggdrasil.device.v1 import link_pb2 as link

_PREFIX = "connect"
_WINDOW = 64


async def measure(mesh: Mesh) -> list[Metric]:
    """Measure all figures of this file."""
    count = pick(400, 1000)
    mesh.pki.issue_devices(_PREFIX, count)
    async with EventStream(mesh) as stream:
        first = await _agents(mesh, stream, count)  # also registers the devices, one more write each
        with peers.broker(mesh.pki) as broker:
            ours, broker_rates = await alternate(
                rounds(), lambda: _agents(mesh, stream, count), lambda: _mqtt(broker, count)
            )
        resumed = await _resumed(mesh, stream, count // 2)
    return [
        compared(
            "connect_rate",
            ours,
            broker_rates,
            peer_name=peers.MOSQUITTO,
            unit="devices/s",
            better="higher",
            target=0.7,
            n=count,
            note="ours ends with the contract: registry asked, contract recorded, session claimed in the KV store",
        ),
        alone("connect_rate_unknown", [first], unit="devices/s", better="higher", n=count, note="unregistered devices"),
        *resumed,
    ]


async def _agents(mesh: Mesh, stream: EventStream, count: int) -> float:
    with agents(mesh, _PREFIX, count) as fleet:
        rate = count / _took(fleet)
        await stream.settled()
    await stream.settled()
    return rate


def _took(fleet: Agents) -> float:
    return fleet.times("active")[-1] - fleet.times("connecting")[0]


async def _mqtt(broker: peers.Broker, count: int) -> float:
    child = peers.bench_peer(broker.pki, "connect", broker.port, _PREFIX, count=count, window=_WINDOW)
    result = await asyncio.to_thread(peers.one_result, child)
    if result["in"] != count:
        raise BenchError(f"the broker accepted {result['in']} of {count}")
    return count / float(result["seconds"])


async def _resumed(mesh: Mesh, stream: EventStream, count: int) -> list[Metric]:
    """Measure full and resumed connections: negotiated, as devices see them, and TLS alone."""
    hellos = mesh.folder / "hellos.bin"
    found = []
    for key, options in (
        ("connect_rate_resumed", {"hellos": hellos}),
        ("tls_rate_resumed", {"tls_only": True, "hellos": hellos}),
    ):
        fulls, resumes, reused = [], [], 0
        for _ in range(rounds()):
            _write_hellos(hellos, count)
            child = peers.bench_peer(
                mesh.pki, "connect", mesh.ports["link"], _PREFIX, count=count, window=_WINDOW, resume=True, **options
            )
            full = await asyncio.to_thread(child.line)
            again = await asyncio.to_thread(peers.one_result, child)
            fulls.append(count / float(full["seconds"]))
            resumes.append(count / float(again["seconds"]))
            reused = int(again["resumed"])
            if again["in"] != count or full["in"] != count:
                raise BenchError(f"the bridge accepted {full['in']}, then {again['in']} of {count}")
            await stream.settled(0.5)
        target = 1.5 if key == "connect_rate_resumed" else None
        name, note = "own full handshake", f"{reused} of {count} handshakes were resumed"
        if reused < count:
            found.append(Metric(key, None, "devices/s", "higher", target=target, peer_name=name, n=count, note=note))
        else:
            found.append(
                compared(
                    key,
                    resumes,
                    fulls,
                    peer_name=name,
                    unit="devices/s",
                    better="higher",
                    target=target,
                    n=count,
                    note=note,
                )
            )
    return found


def _write_hellos(path: Path, count: int) -> None:
    """Write the Hello of each device, each with its own boot; the document is that of the simulated board."""
    document = subprocess.run([str(AGENT), "--print-capabilities"], capture_output=True, timeout=10, check=True).stdout
    with path.open("wb") as file:
        for index in range(1, count + 1):
            frame = link.Frame(
                hello=link.Hello(
                    protocol_min=1,
                    protocol_max=1,
                    device_id=f"{_PREFIX}-{index}",
                    boot_id=random.getrandbits(63) + 1,
                    hardware=link.Hardware(model="sim-board", device_class="sim"),
                    firmware=link.Firmware(version="1.0.0"),
                    limits=link.Limits(
                        rx_frame_bytes=4096, tx_frame_bytes=4096, calls_in_flight=4, rx_record_bytes=4096
                    ),
                    capabilities_digest=hashlib.sha256(document).digest(),
                    capabilities_size_bytes=len(document),
                )
            ).SerializeToString()
            length = bytes([len(frame) & 0x7F | 0x80, len(frame) >> 7]) if len(frame) > 127 else bytes([len(frame)])
            file.write(struct.pack("<I", len(length) + len(frame)) + length + frame)
