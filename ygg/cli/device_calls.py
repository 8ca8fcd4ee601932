"""`ygg device call|read|write`: what reaches a device. The bridge checks; this only reads what was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ygg import values
from ygg.cli.state import state
from ygg.exits import UsageError

if TYPE_CHECKING:
    from services.domain.contract import Contract
    from services.domain.values import Value
    from ygg.client import Mesh

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Device id, such as porch-1.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.05, max=300, help="Seconds to wait for the answer.")]
CallId = Annotated[
    str, typer.Option("--call-id", help="Your id of the call: repeated within one boot of the device it acts once.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `ygg device`."""
    for command in (call, read, write):
        app.command()(command)


def call(
    ctx: typer.Context,
    device: Device,
    action: Annotated[str, typer.Argument(metavar="CAPABILITY.ACTION", help="Such as led0.blink.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Such as times=3.")] = None,
    *,
    timeout_s: Timeout = 10.0,
    call_id: CallId = "",
) -> None:
    """Run an action of a device. Its contract is checked before anything is sent.

    Example:  `ygg device call porch-1 led0.blink times=3 period_ms=200`
    """
    from services.chassis.codec import values_from_proto, values_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    capability, name = values.member(action)
    given = values.assignments(arguments or ())
    st = state(ctx)
    with st.mesh() as mesh:
        contract = _contract(mesh, device)
        wanted = contract.action(capability, name)
        request = bridge_pb2.InvokeRequest(
            device_id=device,
            capability=capability,
            action=name,
            arguments=values_to_proto(values.arguments(given, wanted.arguments)),
            call_id=call_id,
        )
        stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
        answer = mesh.call("jotunheim_bridge", stub.Invoke, request, timeout_s=timeout_s, device=True)
    results = values_from_proto(answer.results)
    if st.out.as_json:
        data = {key: values.to_json(value) for key, value in results.items()}
        st.out.json({"device": device, "action": action, "call_id": answer.call_id, "results": data})
        return
    units = {parameter.name: parameter.schema.unit for parameter in wanted.results}
    shown = [f"{key}: {values.show(value, units.get(key, ''))}" for key, value in results.items()]
    st.out.line("   ".join(shown) or "done")


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
        contract = _contract(mesh, device)
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
) -> None:
    """Write properties, one after another; the first that is refused ends it.

    Example:  `ygg device write porch-1 led0.on=true led0.brightness=40`
    """
    from services.chassis.codec import value_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    wanted = [(values.member(name), text) for name, text in values.assignments(assignments).items()]
    if call_id and len(wanted) > 1:
        raise UsageError("--call-id names one call, and several properties are several calls")
    st = state(ctx)
    with st.mesh() as mesh:
        contract = _contract(mesh, device)
        checked = [
            (capability, name, values.parse(text, contract.writable(capability, name).schema))
            for (capability, name), text in wanted
        ]
        stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
        for capability, name, value in checked:
            request = bridge_pb2.WritePropertyRequest(
                device_id=device, capability=capability, property=name, value=value_to_proto(value), call_id=call_id
            )
            mesh.call("jotunheim_bridge", stub.WriteProperty, request, timeout_s=timeout_s, device=True)
            if not st.out.as_json:
                st.out.line(f"{capability}.{name} is {values.show(value)}")
    if st.out.as_json:
        st.out.json({"device": device, "written": {f"{c}.{n}": values.to_json(v) for c, n, v in checked}})


def _contract(mesh: Mesh, device: str) -> Contract:
    """The device's contract, to read arguments by. Raises YggError."""
    from services.chassis.codec import contract_from_proto
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    request = registry_pb2.GetContractRequest(device_id=device)
    return contract_from_proto(mesh.call("registry", stub.GetContract, request).contract)
