"""`ygg device ls|show|label`: see devices and what they can do. The other commands are in `device_calls|watch`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ygg.cli import device_calls, device_watch
from ygg.cli.state import state
from ygg.exits import UsageError

if TYPE_CHECKING:
    from ygg.client import Mesh
    from yggdrasil.registry.v1 import registry_pb2

app = typer.Typer(help="Devices: list them, show what they can do, call them, watch them.", no_args_is_help=True)

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Device id, such as porch-1.")]
_PAGE = 1000

device_calls.register(app)
device_watch.register(app)


@app.command("ls")
def list_devices(
    ctx: typer.Context,
    *,
    selector: Annotated[str, typer.Option("--selector", "-l", help="Labels, such as zone=hall,floor=2.")] = "",
    has: Annotated[list[str] | None, typer.Option("--has", help="Capability, such as sensor.temperature@1+.")] = None,
    online: Annotated[bool | None, typer.Option("--online/--offline", help="Only those.")] = None,
) -> None:
    """List devices.

    Examples:  `ygg device ls --has actuator.led`   `ygg device ls -l zone=hall --online`
    """
    from ygg import describe
    from yggdrasil.registry.v1 import registry_pb2

    st = state(ctx)
    request = registry_pb2.ListDevicesRequest(page_size=_PAGE, selector=selector, has=has or [], online=online)
    with st.mesh() as mesh:
        found = list(_all_devices(mesh, request))
    if st.out.as_json:
        st.out.json([describe.device_json(device) for device in found])
        return
    if not found:
        st.out.line("no device" if selector or has or online is not None else "no device has connected yet")
        return
    now = datetime.now(UTC)
    st.out.table(describe.DEVICE_COLUMNS, (describe.device_row(device, now) for device in found))


@app.command()
def show(ctx: typer.Context, device: Device) -> None:
    """Show a device and its contract: what it can do, in which bounds, and what was refused.

    Example:  `ygg device show porch-1`
    """
    from ygg import describe
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
    about = (
        f"{row['DEVICE']}   {row['STATE']}{seen}   firmware {row['FIRMWARE']}   slot {row['SLOT']}   {row['LABELS']}"
    )
    st.out.line(about.rstrip())
    for line in describe.contract_lines(contract, now) if contract else ["it has never connected: no contract yet"]:
        st.out.line(line)


@app.command()
def label(
    ctx: typer.Context,
    device: Device,
    labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE|KEY-...", help="zone=hall sets, zone- removes.")],
) -> None:
    """Set and remove labels.

    Example:  `ygg device label porch-1 zone=hall floor-`
    """
    from ygg import describe
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    changes = _label_changes(labels)
    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.UpdateDeviceRequest(device_id=device, labels=changes)
        found = mesh.call("registry", stub.UpdateDevice, request).device
    if st.out.as_json:
        st.out.json(describe.device_json(found))
        return
    st.out.line(f"{device}  {describe.labels(found) or 'no labels'}")


def _all_devices(mesh: Mesh, request: registry_pb2.ListDevicesRequest) -> Iterator[registry_pb2.Device]:
    from yggdrasil.registry.v1 import registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    while True:
        page = mesh.call("registry", stub.ListDevices, request)
        yield from page.devices
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _label_changes(words: list[str]) -> dict[str, str]:
    changes = {}
    for word in words:
        if "=" in word:
            key, _, value = word.partition("=")
            if not value:
                raise UsageError(f"label {key} has no value", hint=f"To remove it:  {key}-")
            changes[key] = value
        elif word.endswith("-") and len(word) > 1:
            changes[word[:-1]] = ""
        else:
            raise UsageError(f"{word!r} is no label", hint="zone=hall sets a label, zone- removes it.")
    return changes
