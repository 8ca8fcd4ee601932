"""`ygg device register|suspend|activate|retire|rm|disconnect`: a device's life."""

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
    devices: Annotated[list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Device ids.")] = None,
    *,
    file: Annotated[
        str,
        typer.Option("--file", "-f", metavar="FILE|-", help="One device a line: an id, or JSON with id and labels."),
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="For all of them; repeatable.")
    ] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Not to connect before they are activated.")] = False,
) -> int:
    """Make devices known before they first connect. What fails does not stop the rest.

    A line of the file is an id, or `{"id": "shed-1", "labels": {"zone": "shed"}, "state": "pending"}`.

    Examples:  `ygg device register shed-1 shed-2 -l zone=shed`   `ygg device register --file devices.ndjson --pending`
    """
    from ygg.bulk import Line, parse_line
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    if bool(devices) == bool(file):
        raise UsageError(
            "name devices, or a file of them", hint="ygg device register shed-1   or   --file devices.ndjson"
        )
    labels = select.new_labels(label)
    st = state(ctx)
    given = [Line(number, text) for number, text in enumerate(devices or (), 1)] or list(_lines(file))
    wanted = [parse_line(line, labels, pending=pending) for line in given]

    with st.mesh() as mesh, Counter(st.out, "registering", len(wanted)) as counter:

        def requests() -> Iterator[registry_pb2.RegisterDevicesRequest]:
            for start in range(0, len(wanted), _BATCH):
                batch = wanted[start : start + _BATCH]
                yield registry_pb2.RegisterDevicesRequest(devices=batch)
                counter.add(len(batch))

        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        answer = mesh.call("registry", stub.RegisterDevices, requests(), timeout_s=_LONG_S)
    return _told(st, answer, [line.number for line in given] if file else [])


def suspend(ctx: typer.Context, devices: Devices) -> None:
    """Forbid devices to connect for now; a live session ends within seconds. `activate` allows it again.

    Example:  `ygg device suspend porch-1`
    """
    _change(state(ctx), devices, "suspended")


def activate(ctx: typer.Context, devices: Devices) -> None:
    """Allow devices to connect: pending or suspended ones.

    Example:  `ygg device activate porch-1`
    """
    _change(state(ctx), devices, "active")


def retire(ctx: typer.Context, devices: Devices, *, yes: Yes = False) -> None:
    """Forbid devices to connect, for ever: a retired device cannot come back under its id.

    Example:  `ygg device retire porch-1 --yes`
    """
    select.confirmed(f"Retire {', '.join(devices)} for ever?", yes=yes)
    _change(state(ctx), devices, "retired")


def remove(
    ctx: typer.Context,
    devices: Devices,
    *,
    readmit: Annotated[
        bool, typer.Option("--readmit", help="Also suspended, retired and revoked ones, which may then come back.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Forget devices that are not online: records, labels, desired states. To keep one out, retire it instead.

    A device that connects with a valid certificate becomes known again.

    Example:  `ygg device rm shed-1 shed-2 --yes`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    select.confirmed(f"Forget {', '.join(devices)}?", yes=yes)
    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        for device in devices:
            request = registry_pb2.DeleteDeviceRequest(device_id=device, readmit=readmit)
            mesh.call("registry", stub.DeleteDevice, request)
            if not st.out.as_json:
                st.out.line(f"{device}  forgotten")
    if st.out.as_json:
        st.out.json({"removed": devices})


def disconnect(ctx: typer.Context, device: Device) -> None:
    """End a device's session; an active device reconnects by itself.

    Example:  `ygg device disconnect porch-1`
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
    st.out.line(f"{device}  its session has ended; an active device reconnects")


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


def _told(st: State, answer: registry_pb2.RegisterDevicesResponse, lines: list[int]) -> int:
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
            columns = ("LINE", "DEVICE", "WHY") if lines else ("", "DEVICE", "WHY")
            st.out.table(columns, rows)
        if answer.failed > len(rows):
            st.out.remark(f"the first {counted(len(rows), 'failure')} of {answer.failed:,} are shown")
    return int(Exit.FAILED if answer.failed else Exit.OK)
