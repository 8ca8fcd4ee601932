"""`ygg twin`: desired and reported state of devices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.domain.values import INT_MAX
from ygg import values
from ygg.cli import following
from ygg.cli.select import Device
from ygg.cli.state import State, state
from ygg.exits import UsageError
from ygg.files import read_text
from ygg.output import duration, safe

if TYPE_CHECKING:
    from services.domain.contract import Contract
    from ygg.client import Mesh
    from yggdrasil.registry.v1 import twin_pb2

app = typer.Typer(
    help="Manage twins: desired and reported state of devices, also while offline.",
    no_args_is_help=True,
)
_RETRY_S = 1.0


@app.command()
def get(ctx: typer.Context, device: Device) -> None:
    """Show the twin of a device.

    STATE is "in sync", "pending" (sent to the device now or when it next connects), "drifted" (the device changed the
    value since; the desired one is written again when it next connects), or the error of the device.

    Examples:
    - `ygg twin get porch-1`
    - `ygg twin get porch-1 --json | jq .delta`
    """
    from yggdrasil.registry.v1 import twin_pb2, twin_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = twin_pb2_grpc.TwinServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.GetTwin, twin_pb2.GetTwinRequest(device_id=device)).twin
    _show(st, found)


@app.command("set")
def set_twin(
    ctx: typer.Context,
    device: Device,
    properties: Annotated[
        list[str] | None,
        typer.Argument(metavar="CAPABILITY.PROPERTY=VALUE", help="led0.on=true sets a property, led0.on= removes it."),
    ] = None,
    *,
    file: Annotated[
        str, typer.Option("--file", "-f", metavar="JSON|-", help="Read a JSON document; null removes.")
    ] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Remove all other desired properties.")] = False,
    revision: Annotated[
        int,
        typer.Option(
            "--revision",
            min=0,
            max=INT_MAX,
            show_default=False,
            metavar="N",
            help="Fail unless the twin has this revision.",
        ),
    ] = 0,
) -> None:
    """Change the desired state of a device.

    Values are validated against the contract: type, range, unit, readable and writable. An online device is updated
    immediately, an offline one when it next connects.

    Examples:
    - `ygg twin set porch-1 led0.brightness=40 led0.on=true`
    - `ygg twin set porch-1 led0.on=` # remove a property
    - `ygg twin set porch-1 --file desired.json --replace --revision 2`
    """
    from services.chassis.codec import values_to_proto
    from ygg import twins
    from yggdrasil.registry.v1 import twin_pb2, twin_pb2_grpc

    if bool(properties) == bool(file):
        raise UsageError("pass either properties or --file", hint="Example:  ygg twin set porch-1 led0.on=true")
    if "programs" in (properties or ()):
        raise UsageError("programs cannot be set in a twin", hint=twins.PROGRAMS_HINT)
    words = values.assignments(properties or ())
    st = state(ctx)
    with st.mesh() as mesh:
        desired = twins.document(read_text(file)) if file else twins.patch(words, _contract(mesh, device))
        request = twin_pb2.UpdateTwinRequest(
            device_id=device, revision=revision, desired=values_to_proto(desired), replace=replace
        )
        stub = twin_pb2_grpc.TwinServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.UpdateTwin, request).twin
    _show(st, found)


@app.command()
def watch(
    ctx: typer.Context,
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE", help="Devices; default: all.")] = None,
    *,
    changes_only: Annotated[bool, typer.Option("--changes-only", help="Skip the current state.")] = False,
) -> None:
    """Show twins and watch their changes until Ctrl-C.

    Examples:
    - `ygg twin watch porch-1`
    - `ygg --json twin watch --changes-only | jq .delta`
    """
    from ygg import twins
    from yggdrasil.registry.v1 import twin_pb2

    st = state(ctx)
    request = twin_pb2.WatchTwinsRequest(device_ids=devices or [], changes_only=changes_only)
    shown: dict[str, twin_pb2.Twin] = {}
    with st.mesh() as mesh:
        following.known_devices(st, mesh, devices or [])
        what = "changes" if changes_only else "current twins and changes"
        following.notice(st, f"Watching {what}: {following.device_names(devices or [])}. Press Ctrl-C to stop.")
        for twin in _twins(st, mesh, request):
            if st.out.as_json:
                st.out.record(twins.to_json(twin))
                continue
            for line in twins.changes(shown.get(twin.device_id), twin):
                st.out.line(f"{datetime.now():%H:%M:%S}  {safe(twin.device_id, 63)}  {line}")
            shown[twin.device_id] = twin


@app.command()
def history(
    ctx: typer.Context,
    device: Device,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=32, help="Maximum versions to show.")] = 32,
) -> None:
    """Show recent versions of the desired and reported state, newest first.

    Example:
    - `ygg twin history porch-1 -n 5`
    """
    from services.chassis.codec import moment
    from ygg import twins
    from yggdrasil.registry.v1 import twin_pb2, twin_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = twin_pb2_grpc.TwinServiceStub(mesh.channel("registry"))
        request = twin_pb2.ListTwinHistoryRequest(device_id=device, limit=limit)
        found = mesh.call("registry", stub.ListTwinHistory, request).versions
    if st.out.as_json:
        st.out.json([twins.version_json(one) for one in found])
        return
    if not found:
        st.out.line(f"{device} has no desired or reported state yet")
        return
    now = datetime.now(UTC)
    rows = []
    for one in found:
        version = twins.version_json(one)
        flat = _flat(version["document"])
        names = version["changed"] or list(flat)
        changed = "  ".join(
            f"{safe(name, 65)}={values.show(flat[name])}" if name in flat else f"{name}=" for name in names
        )
        age = duration((now - moment(one.time)).total_seconds())
        rows.append((str(version["revision"]), version["side"], age, safe(one.author), changed))
    st.out.table(("REVISION", "SIDE", "AGE", "AUTHOR", "CHANGED"), rows, optional=("AUTHOR",))


def _show(st: State, twin: twin_pb2.Twin) -> None:
    from ygg import twins

    if st.out.as_json:
        st.out.json(twins.to_json(twin))
        return
    name = safe(twin.device_id, 63)
    st.out.prose(name, f"desired revision {twin.revision}", f"reported revision {twin.reported_revision}")
    if twin.properties:
        st.out.table(twins.COLUMNS, [twins.row(one) for one in twin.properties])
        for line in twins.drift(twin):
            st.out.remark(line)
    elif not twin.programs:
        st.out.remark(f"No desired or reported state.  Set a property:  ygg twin set {name} led0.on=true")
    if twin.programs:
        st.out.table(twins.PROGRAM_COLUMNS, [twins.program_row(one) for one in twin.programs])
    for line in (line for one in twin.programs for line in twins.program_lines(one)):
        st.out.prose(f"  {line}")


def _twins(st: State, mesh: Mesh, request: twin_pb2.WatchTwinsRequest) -> Iterator[twin_pb2.Twin]:
    """Yield twins without end; resume after the last shown one when the registry is available again."""
    from services.domain.errors import Code, YggError
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc, twin_pb2_grpc

    stub = twin_pb2_grpc.TwinServiceStub(mesh.channel("registry"))
    devices = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    # Fail if the registry is unreachable at the start; reconnect only after a first success.
    mesh.call("registry", devices.ListDevices, registry_pb2.ListDevicesRequest(page_size=1))
    reported = False
    while True:
        try:
            for answer in mesh.stream("registry", stub.WatchTwins(request)):
                if answer.resume_token:
                    request.resume_token, request.changes_only = answer.resume_token, False
                if answer.HasField("twin"):
                    yield answer.twin
                reported = False
        except YggError as e:
            if e.code is not Code.UNAVAILABLE:
                raise
        if not reported:
            st.out.remark("connection to the registry lost; reconnecting")
        reported = True
        time.sleep(_RETRY_S)


def _contract(mesh: Mesh, device: str) -> Contract:
    from services.chassis.codec import contract_from_proto
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    request = registry_pb2.GetContractRequest(device_id=device)
    return contract_from_proto(mesh.call("registry", stub.GetContract, request).contract)


def _flat(document: Any) -> dict[str, Any]:
    return {f"{name}.{prop}": value for name, members in document.items() for prop, value in members.items()}
