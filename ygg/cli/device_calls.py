"""`ygg device call|read|write`: what reaches a device. The bridge checks; this only reads what was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ygg import values
from ygg.cli import device_many as many
from ygg.cli import select
from ygg.cli.device_many import Wanted
from ygg.cli.select import Device, Group, Has, Selector
from ygg.cli.state import State, state
from ygg.exits import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.domain.contract import Contract
    from services.domain.values import Value
    from ygg.client import Mesh

Timeout = Annotated[float, typer.Option("--timeout", min=0.05, max=300, help="Seconds to wait for the answer.")]
CallId = Annotated[
    str, typer.Option("--call-id", help="Your id of the call: repeated within one boot of the device it acts once.")
]

BootId = Annotated[
    str,
    typer.Option(
        "--boot-id", help="The boot that the call was first sent under, as the error told: not sent to another one."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `ygg device`."""
    for command in (call, read, write):
        app.command()(command)


def call(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[DEVICE]... CAPABILITY.ACTION [NAME=VALUE]...", help="Such as porch-1 led0.blink times=3."
        ),
    ],
    *,
    selector: Selector = "",
    group: Group = "",
    has: Has = None,
    at_once: Annotated[int, typer.Option("--at-once", min=1, max=256, help="Of many devices, so many at a time.")] = 32,
    timeout_s: Timeout = 10.0,
    call_id: CallId = "",
    boot_id: BootId = "",
) -> int:
    """Run an action of one device, or of many. The contract is checked before anything is sent.

    A streamed action prints each answer as it comes; of many devices each prints its answer as it comes.

    Values are read by the type that the contract wants: 03 is 3, 30.0 is 30 for an int, text stays as typed.

    Examples:  `ygg device call porch-1 led0.blink times=3 period_ms=200`
    `ygg device call porch-1 porch-2 led0.blink times=1 period_ms=100`
    `ygg device call -l zone=hall --has actuator.led@1+ led0.blink times=3 period_ms=200`   (`-l '*'`: every device)
    """
    wanted = Wanted.of(words)
    st = state(ctx)
    if selector or group or has or len(wanted.devices) > 1:
        if call_id or boot_id:
            raise UsageError("--call-id and --boot-id name one call, and several devices are several calls")
        with st.mesh() as mesh:
            return many.call(
                st, mesh, wanted, many.Which(select.with_group(mesh, selector, group), has or [], at_once, timeout_s)
            )
    if not wanted.devices:
        raise UsageError(
            "no device is named", hint="ygg device call DEVICE led0.blink …   or by labels:  -l zone=hall led0.blink …"
        )
    with st.mesh() as mesh:
        _call_one(st, mesh, wanted, timeout_s, call_id, boot_id)
    return int(Exit.OK)


def _call_one(st: State, mesh: Mesh, wanted: Wanted, timeout_s: float, call_id: str, boot_id: str) -> None:
    from services.chassis.codec import values_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    device = wanted.devices[0]
    action = contract_of(mesh, device).action(wanted.capability, wanted.action)
    request = bridge_pb2.InvokeRequest(
        device_id=device,
        capability=wanted.capability,
        action=wanted.action,
        arguments=values_to_proto(values.arguments(wanted.arguments, action.arguments)),
        call_id=call_id,
        boot_id=boot_id,
    )
    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    units = {parameter.name: parameter.schema.unit for parameter in action.results}
    if not action.streamed:
        answer = mesh.call("jotunheim_bridge", stub.Invoke, request, timeout_s=timeout_s, device=True)
        many.show_answer(st, wanted, device, answer, units)
        return
    stream = stub.InvokeStream(bridge_pb2.InvokeStreamRequest(call=request), timeout=timeout_s)
    for one in mesh.stream("jotunheim_bridge", stream, device=True):
        many.show_answer(st, wanted, device, one.response, units, record=True)


def read(
    ctx: typer.Context,
    device: Device,
    properties: Annotated[list[str], typer.Argument(metavar="CAPABILITY.PROPERTY...", help="Such as temp0.celsius.")],
    *,
    timeout_s: Timeout = 10.0,
) -> None:
    """Read properties from the device itself.

    Example:  `ygg device read porch-1 temp0.celsius led0.on`
    """
    from services.chassis.codec import value_from_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    wanted = [values.member(word) for word in properties]
    st = state(ctx)
    found: list[tuple[str, Value, str]] = []
    with st.mesh() as mesh:
        contract = contract_of(mesh, device)
        stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
        for capability, name in wanted:
            unit = contract.readable(capability, name).schema.unit
            request = bridge_pb2.ReadPropertyRequest(device_id=device, capability=capability, property=name)
            answer = mesh.call("jotunheim_bridge", stub.ReadProperty, request, timeout_s=timeout_s, device=True)
            found.append((f"{capability}.{name}", value_from_proto(answer.value), unit))
    if st.out.as_json:
        st.out.json({"device": device, "values": {name: values.to_json(value) for name, value, _ in found}})
        return
    if len(found) == 1:
        st.out.line(values.show(found[0][1], found[0][2]))
        return
    for name, value, unit in found:
        st.out.line(f"{name}  {values.show(value, unit)}")


def write(
    ctx: typer.Context,
    device: Device,
    assignments: Annotated[
        list[str], typer.Argument(metavar="CAPABILITY.PROPERTY=VALUE...", help="Such as led0.on=true.")
    ],
    *,
    timeout_s: Timeout = 10.0,
    call_id: CallId = "",
    boot_id: BootId = "",
) -> None:
    """Write properties, one after another; the first that is refused ends it. Values are read as by `device call`.

    What the twin desires stays: it is written again when the device next connects. `ygg twin set` changes it for good.

    Example:  `ygg device write porch-1 led0.on=true led0.brightness=40%`
    """
    from services.chassis.codec import value_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    wanted = [(values.member(name), text) for name, text in values.assignments(assignments).items()]
    if (call_id or boot_id) and len(wanted) > 1:
        raise UsageError("--call-id and --boot-id name one call, and several properties are several calls")
    st = state(ctx)
    with st.mesh() as mesh:
        contract = contract_of(mesh, device)
        checked = [
            (capability, name, values.parse(text, contract.writable(capability, name).schema))
            for (capability, name), text in wanted
        ]
        stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
        for capability, name, value in checked:
            request = bridge_pb2.WritePropertyRequest(
                device_id=device,
                capability=capability,
                property=name,
                value=value_to_proto(value),
                call_id=call_id,
                boot_id=boot_id,
            )
            mesh.call("jotunheim_bridge", stub.WriteProperty, request, timeout_s=timeout_s, device=True)
            if not st.out.as_json:
                st.out.line(f"{capability}.{name} is {values.show(value)}")
        for line in _written_past_twin(mesh, device, checked):
            st.out.remark(line)
    if st.out.as_json:
        st.out.json({"device": device, "written": {f"{c}.{n}": values.to_json(v) for c, n, v in checked}})


def _written_past_twin(mesh: Mesh, device: str, written: list[tuple[str, str, Value]]) -> Iterator[str]:
    """What the twin desires otherwise than was written. Nothing where the registry does not answer: it is written."""
    from services.chassis.codec import value_from_proto
    from services.domain.errors import YggError
    from services.domain.twin import same
    from ygg import twins
    from yggdrasil.registry.v1 import twin_pb2, twin_pb2_grpc

    stub = twin_pb2_grpc.TwinServiceStub(mesh.channel("registry"))
    try:
        found = mesh.call("registry", stub.GetTwin, twin_pb2.GetTwinRequest(device_id=device)).twin
    except YggError:
        return
    desired = {(one.capability_id, one.property): value_from_proto(one.desired) for one in found.properties}
    for capability, name, value in written:
        wanted = desired.get((capability, name))
        if wanted is not None and not same(wanted, value):
            yield (
                f"The twin desires {capability}.{name}={twins.as_typed(wanted)} and writes it again when {device} next"
                f" connects. To keep yours:  ygg twin set {device} {capability}.{name}={twins.as_typed(value)}"
            )


def contract_of(mesh: Mesh, device: str) -> Contract:
    """The device's contract, to read arguments by. Raises YggError."""
    from services.chassis.codec import contract_from_proto
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    request = registry_pb2.GetContractRequest(device_id=device)
    return contract_from_proto(mesh.call("registry", stub.GetContract, request).contract)
