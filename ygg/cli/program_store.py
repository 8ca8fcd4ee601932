"""`ygg program store ls|get|set` and `ygg program status`: stored data and health of running programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ygg import values
from ygg.cli.state import State, state
from ygg.exits import CliError, Exit, UsageError
from ygg.output import safe, size

if TYPE_CHECKING:
    from yggdrasil.loki.v1 import program_pb2 as pb

app = typer.Typer(help="Read and write the store of a running program.", no_args_is_help=True)
LONG_S = 60.0
MAX_QUERIED = 50
"""Maximum instances whose statistics are queried, one call each; with more, no statistics are shown."""

Deployment = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Deployment id.")]
OnDevice = Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="Instance on this device.")]


def _call(st: State, method: str, request: Any) -> Any:
    from yggdrasil.loki.v1 import program_pb2_grpc

    with st.mesh() as mesh:
        stub = program_pb2_grpc.ProgramServiceStub(mesh.channel("loki"))
        return mesh.call("loki", getattr(stub, method), request, timeout_s=LONG_S)


def _stored(st: State, deployment: str, device: str) -> pb.GetStoreResponse:
    from yggdrasil.loki.v1 import program_pb2 as pb

    instance = pb.InstanceRef(deployment_id=deployment, device_id=device)
    found: pb.GetStoreResponse = _call(st, "GetStore", pb.GetStoreRequest(instance=instance))
    return found


@app.command("ls")
def list_keys(ctx: typer.Context, deployment: Deployment, *, device: OnDevice = "") -> None:
    """List keys and values of a running program's store.

    Example:
    - `ygg program store ls thermostat -d porch-1`
    """
    from services.chassis.codec import values_from_proto

    st = state(ctx)
    found = _stored(st, deployment, device)
    entries = values_from_proto(found.entries)
    if st.out.as_json:
        kept = values.to_json(entries)
        st.out.json({"entries": kept, "size_bytes": found.size_bytes, "limit_bytes": found.limit_bytes})
        return
    if entries:
        st.out.table(("KEY", "VALUE"), [(safe(key, 64), safe(values.show(entries[key]))) for key in sorted(entries)])
    st.out.remark(f"{size(found.size_bytes)} of {size(found.limit_bytes)} used", "dim")


@app.command("get")
def get_key(
    ctx: typer.Context,
    deployment: Deployment,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key.")],
    *,
    device: OnDevice = "",
) -> None:
    """Print a value as JSON.

    Exit code 4 if the key does not exist.

    Example:
    - `ygg program store get thermostat target`
    """
    from services.chassis.codec import values_from_proto

    st = state(ctx)
    entries = values_from_proto(_stored(st, deployment, device).entries)
    if key not in entries:
        raise CliError(
            f"key {safe(key, 64)!r} not found in the store of {safe(deployment)}",
            hint=f"List keys:  ygg program store ls {safe(deployment)}",
            code=Exit.NOT_FOUND,
        )
    st.out.json(values.to_json(entries[key]))


@app.command("set")
def set_key(
    ctx: typer.Context,
    deployment: Deployment,
    assign: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="JSON or text; KEY= deletes the key.")],
    *,
    device: OnDevice = "",
) -> None:
    """Write keys of a running program's store.

    The program sees a new value the next time it loads the key.

    Examples:
    - `ygg program store set thermostat target=21.5`
    - `ygg program store set thermostat target=` # delete the key
    """
    from services.chassis import codec
    from yggdrasil.loki.v1 import program_pb2 as pb

    st, instance = state(ctx), pb.InstanceRef(deployment_id=deployment, device_id=device)
    if not assign:
        raise UsageError("no key given; pass KEY=VALUE")
    done: dict[str, object] = {}
    for key, text in values.assignments(assign).items():
        value = codec.value_to_proto(values.guess(text)) if text else None
        answer = _call(st, "SetStore", pb.SetStoreRequest(instance=instance, key=key, value=value))
        done[key] = {"deleted": not text, "existed": answer.existed}
        if not st.out.as_json:
            outcome = "deleted" if answer.existed else "did not exist"
            st.out.line(f"{safe(key, 64)} {outcome}" if not text else f"{safe(key, 64)} = {safe(text)}")
    if st.out.as_json:
        st.out.json(done)


def status(
    ctx: typer.Context,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Deployment id; default: all.")] = "",
    *,
    device: Annotated[
        str, typer.Option("--device", "-d", metavar="DEVICE", help="Only instances on this device.")
    ] = "",
) -> None:
    """Show the state, statistics and reported values of program instances.

    Examples:
    - `ygg program status`
    - `ygg program status thermostat -d porch-1`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    found = _call(st, "ListInstances", pb.ListInstancesRequest(deployment_id=deployment, device_id=device)).instances
    if deployment and not found:
        _call(st, "GetProgram", pb.GetProgramRequest(id=deployment))  # raises NOT_FOUND if it does not exist
    statistics = {n: _statistics(st, each) for n, each in enumerate(found)} if len(found) <= MAX_QUERIED else {}
    if st.out.as_json:
        st.out.json([_as_json(each, statistics.get(n)) for n, each in enumerate(found)])
        return
    if not found:
        st.out.line("no program instances")
        st.out.remark("Deploy one:  ygg program deploy examples/programs/blink.lua -d DEVICE")
        return
    columns = ("DEPLOYMENT", "DEVICE", "VERSION", "STATE", "UPTIME", "TURNS", "ERRORS", "TIMERS", "STORE", "PROBLEM")
    optional = ("TIMERS", "STORE", "TURNS", "UPTIME", "ERRORS")
    st.out.table(columns, [_row(each, statistics.get(n)) for n, each in enumerate(found)], optional=optional)
    for line in (line for each in found for line in program_show.reported(each)):
        st.out.prose(f"  {line}")
    if not statistics:
        st.out.remark(f"{len(found)} instances; pass a deployment or --device to see statistics", "dim")


def _statistics(st: State, instance: pb.ProgramInstance) -> pb.ProgramStatistics | None:
    """Return the statistics of an instance; None if it does not run."""
    from services.domain.errors import Code, YggError
    from yggdrasil.loki.v1 import program_pb2 as pb

    if instance.state not in (pb.INSTANCE_STATE_RUNNING, pb.INSTANCE_STATE_SUSPENDED):
        return None
    ref = pb.InstanceRef(deployment_id=instance.deployment_id, device_id=instance.device_id)
    try:
        found: pb.ProgramStatistics = _call(st, "GetStatistics", pb.GetStatisticsRequest(instance=ref)).statistics
    except YggError as e:
        if e.code is Code.FAILED_PRECONDITION:  # it stopped in the meantime
            return None
        raise
    return found


def _row(each: pb.ProgramInstance, seen: pb.ProgramStatistics | None) -> tuple[str, ...]:
    from ygg.cli import program_show
    from ygg.output import duration

    used: tuple[str, ...] = ("-", "-", "-", "-", "-")
    if seen is not None:
        uptime_s = seen.uptime.ToMilliseconds() / 1000
        used = (
            f"{uptime_s:.0f} s" if uptime_s < 2 else duration(uptime_s),
            *map(str, (seen.turns, seen.errors, seen.timers)),
            f"{seen.store_bytes} B",
        )
    return (
        safe(each.deployment_id),
        safe(each.device_id or "-"),
        safe(each.version),
        program_show.state_of(each),
        *used,
        safe(each.problem or each.last_error, 160),
    )


def _as_json(each: pb.ProgramInstance, seen: pb.ProgramStatistics | None) -> dict[str, object]:
    from services.chassis.codec import values_from_proto
    from ygg.cli import program_show

    data = program_show.data(each) | {"reported": values.to_json(values_from_proto(each.reported))}
    return data | {"state": program_show.state_of(each), "statistics": program_show.data(seen) if seen else None}
