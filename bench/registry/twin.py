"""twin_delta_p50_ms: from the write of a desired value until the board of a real agent has it."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from bench.harness.agents import Agents, agents
from bench.harness.compare import alone, percentile
from bench.harness.machine import pick, rounds
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError
from bench.harness.results import Metric
from yggdrasil.common.v1 import value_pb2 as vp
from yggdrasil.registry.v1 import twin_pb2 as pb
from yggdrasil.registry.v1 import twin_pb2_grpc

_PROPERTY = "led0.brightness"
_WITHIN_S = 10.0


async def measure(mesh: Mesh) -> list[Metric]:
    """Write sequentially to one device, and look for each value on the board itself."""
    mesh.start_bridge()
    count, medians = pick(60, 300), list[float]()
    with agents(mesh, "twin", 1) as fleet, Board(fleet) as board:
        async with mesh.channel("registry") as channel:
            twins: Any = twin_pb2_grpc.TwinServiceStub(channel)
            for turn in range(rounds()):
                took = [await _once(twins, board, 1 + (turn * count + number) % 100) for number in range(count)]
                medians.append(percentile(sorted(took), 0.5))
    n = count * rounds()
    note = "from the call of UpdateTwin until the agent's board has the value"
    return [alone("twin_delta_p50_ms", medians, unit="ms", better="lower", target=5, n=n, note=note)]


class Board:
    """A persistent connection to the agent's control socket."""

    def __init__(self, fleet: Agents) -> None:
        self._device = fleet.ids[0]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_WITHIN_S)
        self._socket.connect(str(fleet.control))

    def __enter__(self) -> Board:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._socket.close()

    def await_value(self, value: int) -> float:
        """Poll until the board has the value; return the time."""
        deadline = time.perf_counter() + _WITHIN_S
        while time.perf_counter() < deadline:
            self._socket.sendall(f"get {self._device} {_PROPERTY}\n".encode())
            if self._socket.recv(256).strip() == str(value).encode():
                return time.perf_counter()
        raise BenchError(f"the board did not get {_PROPERTY} = {value}")


async def _once(twins: Any, board: Board, value: int) -> float:
    capability, _, name = _PROPERTY.partition(".")
    desired = {capability: vp.Value(map=vp.ValueMap(entries={name: vp.Value(int=value)}))}
    looking = asyncio.create_task(asyncio.to_thread(board.await_value, value))
    started = time.perf_counter()
    await twins.UpdateTwin(pb.UpdateTwinRequest(device_id="twin-1", desired=desired))
    return (await looking - started) * 1000
