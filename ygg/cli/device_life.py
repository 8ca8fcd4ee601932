"""`ygg device register|suspend|activate|retire|rm|disconnect`: the lifecycle of a device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ygg.cli import select
from ygg.cli.progress import Counter
from ygg.cli.select import Device, Devices, Yes
from ygg.cli.state import State, state
from ygg.exits import Exit, UsageError
from ygg.files import read_text
from ygg.output import counted, safe

if TYPE_CHECKING:
    from ygg.bulk import Line
    from yggdrasil.registry.v1 import registry_pb2

_BATCH = 500
_LONG_S = 24 * 3600.0


def register(app: typer.Typer) -> None:
    """Add the commands to `ygg device`."""
    app.command("register")(register_devices)
    for command in (suspend, activate, retire, disconnect):
        app.command()(command)
    app.command("rm")(remove)


def register_devices(
    ctx: typer.Context,
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE", help="Device ids.")] = None,
    *,
    file: Annotated[
        str,
        typer.Option("--file", "-f", metavar="FILE|-", help="Read one device per line: an id or a JSON object."),
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label for all of them; repeatable.")
    ] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Reject connections until activated.")] = False,
) -> int:
    """Register devices before they first connect.

    A line of the file is an id or `{"id": "shed-1", "labels": {"zone": "shed"}, "state": "pending"}`. A line that fails
    does not stop the others.

    Examples:
    - `ygg device register shed-1 shed-2 -l zone=shed`
    - `ygg device register --file devices.ndjson --pending`
    """
    from ygg.bulk import Line, parse_line
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    if bool(devices) == bool(file):
        raise UsageError(
            "pass either device ids or --file",
            hint="Examples:  ygg device register shed-1   or   ygg device register --file devices.ndjson",
        )
    labels = select.new_labels(label)
    st = state(ctx)
    given = [Line(number, text) for number, text in enumerate(devices or (), 1)] or list(_lines(file))
    parsed = [parse_line(line, labels, pending=pending) for line in given]

    with st.mesh() as mesh, Counter(st.out, "registering", len(parsed)) as counter:

        def requests() -> Iterator[registry_pb2.RegisterDevicesRequest]:
            for start in range(0, len(parsed), _BATCH):
                batch = parsed[start : start + _BATCH]
                yield registry_pb2.RegisterDevicesRequest(devices=batch)
                counter.add(len(batch))

        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        answer = mesh.call("registry", stub.RegisterDevices, requests(), timeout_s=_LONG_S)
    return _show(st, answer, [line.number for line in given] if file else [])


def suspend(ctx: typer.Context, devices: Devices) -> None:
    """Block devices from connecting until activated again.

    Open sessions close within seconds.

    Example:
    - `ygg device suspend porch-1`
    """
    _change(state(ctx), devices, "suspended")


def activate(ctx: typer.Context, devices: Devices) -> None:
    """Allow pending or suspended devices to connect.

    Example:
    - `ygg device activate porch-1`
    """
    _change(state(ctx), devices, "active")


def retire(ctx: typer.Context, devices: Devices, *, yes: Yes = False) -> None:
    """Block devices from connecting permanently.

    A retired device id cannot be activated again.

    Example:
    - `ygg device retire porch-1 --yes`
    """
    select.confirmed(f"Retire {', '.join(devices)} permanently?", yes=yes)
    _change(state(ctx), devices, "retired")


def remove(
    ctx: typer.Context,
    devices: Devices,
    *,
    readmit: Annotated[
        bool,
        typer.Option("--readmit", help="Also delete suspended, retired and revoked devices; they may connect again."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete offline devices with their labels and desired states.

    A deleted device that connects with a valid certificate is registered again. To block it, retire it instead.

    Example:
    - `ygg device rm shed-1 shed-2 --yes`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    select.confirmed(f"Delete {', '.join(devices)}?", yes=yes)
    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        for device in devices:
            request = registry_pb2.DeleteDeviceRequest(device_id=device, readmit=readmit)
            mesh.call("registry", stub.DeleteDevice, request)
            if not st.out.as_json:
                st.out.line(f"{device}  deleted")
    if st.out.as_json:
        st.out.json({"removed": devices})


def disconnect(ctx: typer.Context, device: Device) -> None:
    """Close a device's session; an active device reconnects.

    Example:
    - `ygg device disconnect porch-1`
    """
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
        request = bridge_pb2.DisconnectRequest(device_id=device)
        answer = mesh.call("jotunheim_bridge", stub.Disconnect, request)
    if st.out.as_json:
        st.out.json({"device": device, "session_id": answer.session_id})
        return
    st.out.line(f"{device}  session closed")


def _change(st: State, devices: Iterable[str], name: str) -> None:
    from ygg import describe
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    changed = []
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        for device in devices:
            request = registry_pb2.UpdateDeviceRequest(device_id=device, state=select.state_numbers([name])[0])
            changed.append(mesh.call("registry", stub.UpdateDevice, request).device)
            if not st.out.as_json:
                st.out.line(f"{device}  {name}")
    if st.out.as_json:
        st.out.json([describe.device_json(one) for one in changed])


def _lines(file: str) -> Iterator[Line]:
    from ygg.bulk import Line

    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            yield Line(number, line.strip())


def _show(st: State, answer: registry_pb2.RegisterDevicesResponse, lines: list[int]) -> int:
    rows = [
        (str(lines[one.position]) if lines else "", safe(one.device_id, 63), safe(one.failure.message))
        for one in answer.failures
    ]
    if st.out.as_json:
        from ygg.cli.failure import entry_of

        failures = [
            {
                "device": one.device_id,
                "position": one.position,
                "line": lines[one.position] if lines else None,
                **entry_of(one.failure),
            }
            for one in answer.failures
        ]
        st.out.json(
            {
                "registered": answer.registered,
                "failed": answer.failed,
                "failures": failures,
                "revision": answer.revision,
            }
        )
    else:
        st.out.line(f"registered {answer.registered}" + (f", {answer.failed} failed" if answer.failed else ""))
        if rows:
            columns = ("LINE", "DEVICE", "ERROR") if lines else ("", "DEVICE", "ERROR")
            st.out.table(columns, rows)
        if answer.failed > len(rows):
            st.out.remark(f"showing the first {counted(len(rows), 'failure')} of {answer.failed:,}")
    return int(Exit.FAILED if answer.failed else Exit.OK)
