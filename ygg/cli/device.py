"""`ygg device ls|show|label`. The other commands of `ygg device` are in `device_*` and `enrol`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from ygg.cli import device_calls, device_contract, device_life, device_watch, device_why, enrol, select
from ygg.cli.select import Device, Expiring, Group, Has, Online, Selector, States
from ygg.cli.state import state

app = typer.Typer(
    help="Manage devices: list, inspect, call, watch, enrol, retire.",
    no_args_is_help=True,
)


@app.command("ls")
def list_devices(
    ctx: typer.Context,
    *,
    selector: Selector = "",
    has: Has = None,
    online: Online = None,
    group: Group = "",
    states: States = None,
    expiring: Expiring = "",
) -> None:
    """List devices.

    Examples:
    - `ygg device ls --has actuator.led`
    - `ygg device ls -l zone=hall --has sensor.temperature@2+ --offline`
    - `ygg device ls --group upstairs --state suspended`
    - `ygg device ls --expiring 30d` # certificates that expire within 30 days
    """
    from ygg import describe
    from yggdrasil.registry.v1 import registry_pb2

    st = state(ctx)
    request = registry_pb2.ListDevicesRequest(
        selector=selector, has=has or [], online=online, group=group, states=select.state_numbers(states)
    )
    now = datetime.now(UTC)
    if expiring:
        request.certificate_expires_before.FromDatetime(now + select.period(expiring))
    with st.mesh() as mesh:
        found = list(select.all_devices(mesh, request))
    if st.out.as_json:
        st.out.json([describe.device_json(device) for device in found])
        return
    if not found:
        narrowed = selector or has or group or states or expiring or online is not None
        st.out.line("no devices found" if narrowed else "no devices registered or connected yet")
        if has:
            st.out.remark("Explain why a device does not match:  ygg device why DEVICE --has …")
        return
    if expiring:
        rows = [(device.id, describe.device_state(device), describe.certificate(device, now)) for device in found]
        st.out.table(("DEVICE", "STATE", "CERTIFICATE"), rows)
        st.out.remark("Issue a new certificate with a token:  ygg device token DEVICE")
        return
    st.out.table(
        describe.DEVICE_COLUMNS, (describe.device_row(device, now) for device in found), optional=describe.OPTIONAL
    )


@app.command()
def show(ctx: typer.Context, device: Device) -> None:
    """Show a device and its contract.

    The contract lists capabilities with their types and ranges, and refused capabilities.

    Example:
    - `ygg device show porch-1`
    """
    from ygg import describe, tables
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.GetDevice, registry_pb2.GetDeviceRequest(device_id=device)).device
        contract = None
        if found.contract_revision:
            request = registry_pb2.GetContractRequest(device_id=device)
            contract = mesh.call("registry", stub.GetContract, request).contract
    if st.out.as_json:
        st.out.json({**describe.device_json(found), "contract": describe.contract_json(contract) if contract else None})
        return
    now = datetime.now(UTC)
    row = dict(zip(describe.DEVICE_COLUMNS, describe.device_row(found, now), strict=True))
    seen = "" if found.presence.online else f" since {row['SEEN']}"
    about = [f"{row['STATE']}{seen}", f"firmware {row['FIRMWARE']}", f"slot {row['SLOT']}", row["LABELS"]]
    if found.HasField("certificate_expire_time"):
        about.insert(3, f"certificate {describe.certificate(found, now)}")
    for line in tables.flow(filter(None, about), st.out.width, first=row["DEVICE"]):
        st.out.line(line)
    for line in (
        describe.contract_lines(contract, now, st.out.width) if contract else ["never connected, no contract yet"]
    ):
        st.out.line(line)


@app.command()
def label(
    ctx: typer.Context,
    device: Device,
    labels: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE|KEY-", help="zone=hall sets, zone- removes a label.")
    ],
) -> None:
    """Set and remove labels of a device.

    Example:
    - `ygg device label porch-1 zone=hall floor-` # set zone, remove floor
    """
    from ygg import describe
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    changes = select.label_changes(labels)
    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.UpdateDeviceRequest(device_id=device, labels=changes)
        found = mesh.call("registry", stub.UpdateDevice, request).device
    if st.out.as_json:
        st.out.json(describe.device_json(found))
        return
    st.out.line(f"{device}  {describe.labels(found) or 'no labels'}")


device_why.register(app)
device_life.register(app)
device_contract.register(app)
device_calls.register(app)
device_watch.register(app)
enrol.register(app)
