"""Steps of the demo on a running mesh: devices, scripts, calls, checks. Each step returns its measurements.

Owns the steps and their checks; raises CliError for a wrong result. `show` starts and stops the mesh.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.chassis.codec import value_from_proto, value_to_proto, values_from_proto
from services.domain.values import Value
from ygg import script_files
from ygg.client import Mesh
from ygg.contexts import Context
from ygg.demo.board import Board
from ygg.demo.paths import DEVICES, DemoPaths
from ygg.exits import CliError
from ygg.mesh.bootstrap import SECOND_USER
from ygg.scripts import Run, execute
from yggdrasil.common.v1 import contract_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

ONLINE_S = 20.0
CALLS = 21
_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The negotiation of a device and its contract."""

    device: str
    milliseconds: float
    contract: contract_pb2.Contract


@dataclass(frozen=True, slots=True)
class Ran:
    """A script's result; `milliseconds` is the round trip seen by the client."""

    value: str
    milliseconds: float


def negotiated(mesh: Mesh) -> list[Negotiated]:
    """Wait until both devices are online and return their contracts."""
    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    deadline = time.monotonic() + ONLINE_S
    while True:
        page = mesh.call("registry", stub.ListDevices, registry_pb2.ListDevicesRequest(online=True))
        online = {device.id: device for device in page.devices}
        if all(device in online for device in DEVICES):
            break
        if time.monotonic() > deadline:
            missing = ", ".join(device for device in DEVICES if device not in online)
            raise CliError(f"not online within {ONLINE_S:g} s: {missing}", hint="See the logs of the agents.")
        time.sleep(_STEP_S)
    found = []
    for device in DEVICES:
        request = registry_pb2.GetContractRequest(device_id=device)
        contract = mesh.call("registry", stub.GetContract, request).contract
        found.append(Negotiated(device, online[device].presence.negotiation_ms, contract))
    return found


def check_contract(one: Negotiated) -> None:
    """Check the accepted and the refused capabilities against the board and the policy."""
    types = {capability.type for capability in one.contract.capabilities}
    refused = {refusal.type for refusal in one.contract.refused}
    if not {"actuator.led", "sensor.temperature"} <= types or refused != {"actuator.siren"}:
        raise CliError(f"the contract of {one.device} has {sorted(types)} and refuses {sorted(refused)}")


def run_script(mesh: Mesh, path: Path, language: str, device: str, expected: str) -> Ran:
    """Run an example and check that its result contains `expected`."""
    started = time.perf_counter()
    run = Run(script_files.read(path), language, path.name, device)
    outcome = execute(mesh, run, lambda _: None)
    milliseconds = (time.perf_counter() - started) * 1000
    if not isinstance(outcome.value, str) or expected not in outcome.value:
        raise CliError(f"{path.name} on {device} returned {outcome.value!r}, which lacks {expected!r}")
    return Ran(outcome.value, milliseconds)


def calls(mesh: Mesh, board: Board, device: str) -> list[float]:
    """Call an action CALLS times and check that each acted exactly once; return milliseconds per call."""
    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    before = int(board.get(device, "cnt0.count"))
    took = []
    for number in range(1, CALLS + 1):
        request = bridge_pb2.InvokeRequest(
            device_id=device, capability="cnt0", action="add", arguments={"n": value_to_proto(1)}
        )
        started = time.perf_counter()
        answer = mesh.call("jotunheim_bridge", stub.Invoke, request, device=True)
        took.append((time.perf_counter() - started) * 1000)
        if value_from_proto(answer.results["count"]) != before + number:
            raise CliError(f"call {number} of cnt0.add returned {values_from_proto(answer.results)!r}")
    after = int(board.get(device, "cnt0.count"))
    if after != before + CALLS:
        raise CliError(f"{CALLS} calls acted {after - before} times on the board of {device}")
    return took


def second_client_reads(context: Context, paths: DemoPaths, device: str, prop: str) -> Value:
    """Read a property from the device as another user, through the bridge."""
    other = replace(context, identity=str(paths.layout.identity("user", SECOND_USER)))
    capability, _, name = prop.partition(".")
    with Mesh("demo", other) as mesh:
        stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
        request = bridge_pb2.ReadPropertyRequest(device_id=device, capability=capability, property=name)
        return value_from_proto(mesh.call("jotunheim_bridge", stub.ReadProperty, request, device=True).value)


def check_led(context: Context, paths: DemoPaths, device: str, *, on: bool) -> None:
    """Check the LED on the board and through a second client."""
    expected = "on" if on else "off"
    board = Board(paths.control(device)).get(device, "led0.on")
    if board != expected:
        raise CliError(f"led0 of {device} should be {expected}; the board reads {board}")
    read = second_client_reads(context, paths, device, "led0.on")
    if read is not on:
        raise CliError(f"led0 of {device} should be {expected}; a second client reads {read!r}")


def median(figures: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(figures)
