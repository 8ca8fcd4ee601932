"""`ygg twin`: what a device's properties shall be, and what they are."""

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
from ygg.output import ago, safe

if TYPE_CHECKING:
    from services.domain.contract import Contract
    from ygg.client import Mesh
    from yggdrasil.registry.v1 import twin_pb2

app = typer.Typer(
    help="Twins: what a device's properties shall be, and what they are. Works while the device is away.",
    no_args_is_help=True,
)
_RETRY_S = 1.0


@app.command()
def get(ctx: typer.Context, device: Device) -> None:
    """Show a device's twin, property by property.

    STATE: "as desired", "not yet" (the device is sent it, or will be when it connects), "drifted" (the device had it so
    and has something else now; what is desired is written again when it next connects), or why it cannot be.

    Examples:  `ygg twin get porch-1`   `ygg twin get porch-1 --json | jq .delta`
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
        typer.Argument(metavar="[CAPABILITY.PROPERTY=VALUE]...", help="led0.on=true sets, led0.on= removes."),
    ] = None,
    *,
    file: Annotated[str, typer.Option("--file", "-f", metavar="JSON|-", help="A document; null removes.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Remove what is not named.")] = False,
    revision: Annotated[
        int,
        typer.Option("--revision", min=0, max=INT_MAX, metavar="N", help="Only where the twin is at this revision."),
    ] = 0,
) -> None:
    """Change what is desired of a device. It is told at once, or when it connects the next time.

    Checked against the contract: type, range, unit, and that it can be read and written.

    Examples:  `ygg twin set porch-1 led0.brightness=40 led0.on=true`   `ygg twin set porch-1 led0.on=`
    `ygg twin set porch-1 --file wanted.json --replace --revision 2`
    """
    from services.chassis.codec import values_to_proto
    from ygg import twins
    from yggdrasil.registry.v1 import twin_pb2, twin_pb2_grpc

    if bool(properties) == bool(file):
        raise UsageError("say what to set, or name a file of it", hint="ygg twin set porch-1 led0.on=true")
    if "programs" in (properties or ()):
        raise UsageError("programs are deployed, not written into a twin", hint=twins.PROGRAMS_HINT)
    words = values.assignments(properties or ())
    st = state(ctx)
    with st.mesh() as mesh:
        wanted = twins.document(read_text(file)) if file else twins.patch(words, _contract(mesh, device))
        request = twin_pb2.UpdateTwinRequest(
            device_id=device, revision=revision, desired=values_to_proto(wanted), replace=replace
        )
        stub = twin_pb2_grpc.TwinServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.UpdateTwin, request).twin
    _show(st, found)


@app.command()
def watch(
    ctx: typer.Context,
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Only these; none means all.")
    ] = None,
    *,
    changes_only: Annotated[bool, typer.Option("--changes-only", help="Leave out how they are now.")] = False,
) -> None:
    """Show twins as they are and then each change. Ctrl-C ends it.

    Examples:  `ygg twin watch porch-1`   `ygg --json twin watch --changes-only | jq .delta`
    """
    from ygg import twins
    from yggdrasil.registry.v1 import twin_pb2

    st = state(ctx)
    request = twin_pb2.WatchTwinsRequest(device_ids=devices or [], changes_only=changes_only)
    shown: dict[str, twin_pb2.Twin] = {}
    with st.mesh() as mesh:
        following.known(st, mesh, devices or [])
        now = "changes" if changes_only else "twins as they are now, then changes"
        following.waiting(st, f"Waiting for {now}: {following.named(devices or [])}. Ctrl-C ends it.")
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
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=32, help="Most versions to show.")] = 32,
) -> None:
    """Show the last versions of what was desired and reported, newest first, and who wrote them.

    Example:  `ygg twin history porch-1 -n 5`
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
        st.out.line(f"nothing was desired of {device} yet, and it has reported nothing")
        return
    now = datetime.now(UTC)
    rows = []
    for one in found:
        version = twins.version_json(one)
        flat = _flat(version["document"])
        names = version["changed"] or list(flat)
        told = "  ".join(
            f"{safe(name, 65)}={values.show(flat[name])}" if name in flat else f"{name}=" for name in names
        )
        age = ago((now - moment(one.time)).total_seconds())
        rows.append((str(version["revision"]), version["side"], age, safe(one.author), told))
    st.out.table(("REVISION", "SIDE", "AGE", "WHO", "CHANGED"), rows, optional=("WHO",))


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
        st.out.remark(f"Nothing is desired or reported.  Begin:  ygg twin set {name} led0.on=true")
    if twin.programs:
        st.out.table(twins.PROGRAM_COLUMNS, [twins.program_row(one) for one in twin.programs])
    for line in (line for one in twin.programs for line in twins.program_lines(one)):
        st.out.prose(f"  {line}")


def _twins(st: State, mesh: Mesh, request: twin_pb2.WatchTwinsRequest) -> Iterator[twin_pb2.Twin]:
    """Twins for ever; where the registry goes away it goes on after the last one that was shown."""
    from services.domain.errors import Code, YggError
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc, twin_pb2_grpc

    stub = twin_pb2_grpc.TwinServiceStub(mesh.channel("registry"))
    devices = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    # One answer first: a mesh that cannot be reached at all is an error, one that went away is waited for.
    mesh.call("registry", devices.ListDevices, registry_pb2.ListDevicesRequest(page_size=1))
    told = False
    while True:
        try:
            for answer in mesh.stream("registry", stub.WatchTwins(request)):
                if answer.resume_token:
                    request.resume_token, request.changes_only = answer.resume_token, False
                if answer.HasField("twin"):
                    yield answer.twin
                told = False
        except YggError as e:
            if e.code is not Code.UNAVAILABLE:
                raise
        if not told:
            st.out.remark("the registry went away; this goes on where it was once it is back")
        told = True
        time.sleep(_RETRY_S)


def _contract(mesh: Mesh, device: str) -> Contract:
    from services.chassis.codec import contract_from_proto
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    request = registry_pb2.GetContractRequest(device_id=device)
    return contract_from_proto(mesh.call("registry", stub.GetContract, request).contract)


def _flat(document: Any) -> dict[str, Any]:
    return {f"{name}.{prop}": value for name, members in document.items() for prop, value in members.items()}
