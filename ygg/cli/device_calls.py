"""`ygg device call|read|write`: operations on a device. Only parses arguments; the bridge validates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ygg import values
from ygg.cli import device_many as many
from ygg.cli import select
from ygg.cli.device_many import ActionCall
from ygg.cli.select import Device, Group, Has, Selector
from ygg.cli.state import State, state
from ygg.exits import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.domain.contract import Contract
    from services.domain.values import Value
    from ygg.client import Mesh

Timeout = Annotated[float, typer.Option("--timeout", min=0.05, max=300, help="Timeout per device, in seconds.")]
CallId = Annotated[
    str, typer.Option("--call-id", help="Idempotency key: a repeated call acts once per boot of the device.")
]

BootId = Annotated[
    str,
    typer.Option(
        "--boot-id", help="Send only if the device is still in this boot; the error of a failed call shows the boot id."
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
            metavar="[DEVICE]... CAPABILITY.ACTION [NAME=VALUE]...", help="Example: porch-1 led0.blink times=3."
        ),
    ],
    *,
    selector: Selector = "",
    group: Group = "",
    has: Has = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=256, help="Maximum devices called at a time.")
    ] = 32,
    timeout_s: Timeout = 10.0,
    call_id: CallId = "",
    boot_id: BootId = "",
) -> int:
    """Call an action on one or more devices.

    The call is validated against the contract before it is sent. Responses of several devices and of streamed actions
    are printed as they arrive.

    Values are parsed by their declared type: 03 is 3, 30.0 is 30 for an int, strings stay as typed.

    Examples:
    - `ygg device call porch-1 led0.blink times=3 period_ms=200`
    - `ygg device call porch-1 porch-2 led0.blink times=1 period_ms=100`
    - `ygg device call -l zone=hall --has actuator.led@1+ led0.blink times=3 period_ms=200` # by label
    """
    action = ActionCall.of(words)
    st = state(ctx)
    if selector or group or has or len(action.devices) > 1:
        if call_id or boot_id:
            raise UsageError("--call-id and --boot-id need exactly one device")
        with st.mesh() as mesh:
            targets = many.Targets(select.with_group(mesh, selector, group), has or [], concurrency, timeout_s)
            return many.call(st, mesh, action, targets)
    if not action.devices:
        raise UsageError(
            "no device given", hint="Name one:  ygg device call DEVICE led0.blink …   or select by label:  -l zone=hall"
        )
    with st.mesh() as mesh:
        _call_one(st, mesh, action, timeout_s, call_id, boot_id)
    return int(Exit.OK)


def _call_one(st: State, mesh: Mesh, parsed: ActionCall, timeout_s: float, call_id: str, boot_id: str) -> None:
    from services.chassis.codec import values_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    device = parsed.devices[0]
    action = contract_of(mesh, device).action(parsed.capability, parsed.action)
    request = bridge_pb2.InvokeRequest(
        device_id=device,
        capability=parsed.capability,
        action=parsed.action,
        arguments=values_to_proto(values.arguments(parsed.arguments, action.arguments)),
        call_id=call_id,
        boot_id=boot_id,
    )
    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    units = {parameter.name: parameter.schema.unit for parameter in action.results}
    if not action.streamed:
        answer = mesh.call("jotunheim_bridge", stub.Invoke, request, timeout_s=timeout_s, device=True)
        many.show_answer(st, parsed, device, answer, units)
        return
    stream = stub.InvokeStream(bridge_pb2.InvokeStreamRequest(call=request), timeout=timeout_s)
    for one in mesh.stream("jotunheim_bridge", stream, device=True):
        many.show_answer(st, parsed, device, one.response, units, record=True)


def read(
    ctx: typer.Context,
    device: Device,
    properties: Annotated[list[str], typer.Argument(metavar="CAPABILITY.PROPERTY", help="Example: temp0.celsius.")],
    *,
    timeout_s: Timeout = 10.0,
) -> None:
    """Read properties from a device.

    Example:
    - `ygg device read porch-1 temp0.celsius led0.on`
    """
    from services.chassis.codec import value_from_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    members = [values.member(word) for word in properties]
    st = state(ctx)
    found: list[tuple[str, Value, str]] = []
    with st.mesh() as mesh:
        contract = contract_of(mesh, device)
        stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
        for capability, name in members:
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
        list[str], typer.Argument(metavar="CAPABILITY.PROPERTY=VALUE", help="Example: led0.on=true.")
    ],
    *,
    timeout_s: Timeout = 10.0,
    call_id: CallId = "",
    boot_id: BootId = "",
) -> None:
    """Write properties of a device, in order, until one fails.

    Values are parsed as for `ygg device call`. The desired state of the twin does not change and is written again when
    the device next connects. Use `ygg twin set` for a lasting change.

    Example:
    - `ygg device write porch-1 led0.on=true led0.brightness=40%`
    """
    from services.chassis.codec import value_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    writes = [(values.member(name), text) for name, text in values.assignments(assignments).items()]
    if (call_id or boot_id) and len(writes) > 1:
        raise UsageError("--call-id and --boot-id need exactly one property")
    st = state(ctx)
    with st.mesh() as mesh:
        contract = contract_of(mesh, device)
        checked = [
            (capability, name, values.parse(text, contract.writable(capability, name).schema))
            for (capability, name), text in writes
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
                st.out.line(f"{capability}.{name} = {values.show(value)}")
        for line in _twin_conflicts(mesh, device, checked):
            st.out.remark(line)
    if st.out.as_json:
        st.out.json({"device": device, "written": {f"{c}.{n}": values.to_json(v) for c, n, v in checked}})


def _twin_conflicts(mesh: Mesh, device: str, written: list[tuple[str, str, Value]]) -> Iterator[str]:
    """Yield a remark for each written value that differs from the twin's desired value; none if it is unavailable."""
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
        target = desired.get((capability, name))
        if target is not None and not same(target, value):
            yield (
                f"The twin still desires {capability}.{name}={twins.as_typed(target)}, written again when {device} next"
                f" connects. To keep the new value:"
                f"  ygg twin set {device} {capability}.{name}={twins.as_typed(value)}"
            )


def contract_of(mesh: Mesh, device: str) -> Contract:
    """Return the device's contract. Raises YggError."""
    from services.chassis.codec import contract_from_proto
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    request = registry_pb2.GetContractRequest(device_id=device)
    return contract_from_proto(mesh.call("registry", stub.GetContract, request).contract)
