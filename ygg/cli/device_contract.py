"""`ygg device contract|contracts|diff|td`: current and earlier contracts of a device."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from services.domain.values import INT_MAX
from ygg.cli.select import Device
from ygg.cli.state import state
from ygg.output import duration, safe

Revision = Annotated[
    int,
    typer.Option(
        "--revision",
        "-r",
        min=0,
        max=INT_MAX,
        show_default=False,
        metavar="N",
        help="Contract revision; default: the current one.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `ygg device`."""
    for command in (contract, contracts, diff, td):
        app.command()(command)


def contract(ctx: typer.Context, device: Device, *, revision: Revision = 0) -> None:
    """Show a device's contract.

    Examples:
    - `ygg device contract porch-1`
    - `ygg device contract porch-1 --revision 1`
    """
    from ygg import describe
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.GetContractRequest(device_id=device, revision=revision)
        found = mesh.call("registry", stub.GetContract, request).contract
    if st.out.as_json:
        st.out.json(describe.contract_json(found))
        return
    for line in describe.contract_lines(found, datetime.now(UTC), st.out.width):
        st.out.line(line)


def contracts(ctx: typer.Context, device: Device) -> None:
    """List the stored contract revisions of a device, newest first.

    Example:
    - `ygg device contracts porch-1`
    """
    from services.chassis.codec import moment
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.ListContractsRequest(device_id=device)
        found = mesh.call("registry", stub.ListContracts, request).revisions
    now = datetime.now(UTC)
    if st.out.as_json:
        st.out.json(
            [
                {
                    "revision": one.revision,
                    "digest": one.digest,
                    "negotiate_time": moment(one.negotiate_time).isoformat(),
                    "firmware": one.firmware_version,
                    "policy": one.policy,
                }
                for one in found
            ]
        )
        return
    rows = [
        (
            str(one.revision),
            duration((now - moment(one.negotiate_time)).total_seconds()),
            safe(one.firmware_version, 31) or "-",
            safe(one.policy, 64) or "-",
            one.digest[:12],
        )
        for one in found
    ]
    st.out.table(("REVISION", "AGE", "FIRMWARE", "POLICY", "SHA256"), rows, optional=("SHA256", "POLICY"))


def diff(
    ctx: typer.Context,
    device: Device,
    older: Annotated[
        int,
        typer.Argument(
            metavar="FROM", min=0, max=INT_MAX, show_default=False, help="Revision; default: the one before TO."
        ),
    ] = 0,
    newer: Annotated[
        int,
        typer.Argument(
            metavar="TO", min=0, max=INT_MAX, show_default=False, help="Revision; default: the current one."
        ),
    ] = 0,
) -> None:
    """Compare two revisions of a device's contract.

    Examples:
    - `ygg device diff porch-1` # the last change
    - `ygg device diff porch-1 1 2`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    st = state(ctx)
    request = registry_pb2.CompareContractsRequest(device_id=device, to=newer)
    setattr(request, "from", older)  # a Python keyword
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.CompareContracts, request)
    before = getattr(found, "from")
    if st.out.as_json:
        changes = {name: list(getattr(found.changes, name)) for name in ("added", "removed", "changed")}
        st.out.json({"from": before, "to": found.to, **changes, "differences": list(found.differences)})
        return
    st.out.line(f"{device}  contract {before} → {found.to}")
    for line in found.differences or ["no difference except the negotiation time"]:
        st.out.prose(f"  {safe(line, 1000)}")


def td(ctx: typer.Context, device: Device) -> None:
    """Print a device's W3C Thing Description 1.1 (JSON-LD).

    Example:
    - `ygg device td porch-1 | jq .properties`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.GetThingDescriptionRequest(device_id=device)
        found = mesh.call("registry", stub.GetThingDescription, request).json
    st.out.json(json.loads(found))
