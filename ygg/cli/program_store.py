"""`ygg program store ls|get|set` and `ygg program status`: what a running program keeps, and how it fares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ygg import values
from ygg.cli.state import State, state
from ygg.exits import CliError, Exit, UsageError
from ygg.output import safe, size

if TYPE_CHECKING:
    from yggdrasil.loki.v1 import program_pb2 as pb

app = typer.Typer(help="What a running program keeps: its store.", no_args_is_help=True)
LONG_S = 60.0
MAX_ASKED = 50
"""Instances that are asked for their statistics one by one; more are shown without."""

Deployment = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its id.")]
OnDevice = Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="Which instance.")]


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
    """List the keys of a running program's store with their values.

    Example:  `ygg program store ls thermostat -d porch-1`
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
    st.out.remark(f"{size(found.size_bytes)} of {size(found.limit_bytes)}", "dim")


@app.command("get")
def get_key(
    ctx: typer.Context,
    deployment: Deployment,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key.")],
    *,
    device: OnDevice = "",
) -> None:
    """Print one value as JSON. Exit status 4 if there is no such key.

    Example:  `ygg program store get thermostat target`
    """
    from services.chassis.codec import values_from_proto

    st = state(ctx)
    entries = values_from_proto(_stored(st, deployment, device).entries)
    if key not in entries:
        raise CliError(
            f"{safe(deployment)} keeps nothing under {safe(key, 64)}",
            hint=f"Its keys:  ygg program store ls {safe(deployment)}",
            code=Exit.NOT_FOUND,
        )
    st.out.json(values.to_json(entries[key]))


@app.command("set")
def set_key(
    ctx: typer.Context,
    deployment: Deployment,
    assign: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="JSON, or text; KEY= deletes the key.")],
    *,
    device: OnDevice = "",
) -> None:
    """Write keys of a running program's store, as the program itself would.

    The program sees them when it loads them next; what it has loaded into variables stays as it is.

    Examples:  `ygg program store set thermostat target=21.5`   `ygg program store set thermostat target=`
    """
    from services.chassis import codec
    from yggdrasil.loki.v1 import program_pb2 as pb

    st, instance = state(ctx), pb.InstanceRef(deployment_id=deployment, device_id=device)
    if not assign:
        raise UsageError("no key given", hint="Write KEY=VALUE.")
    done: dict[str, object] = {}
    for key, text in values.assignments(assign).items():
        value = codec.value_to_proto(values.guess(text)) if text else None
        answer = _call(st, "SetStore", pb.SetStoreRequest(instance=instance, key=key, value=value))
        done[key] = {"deleted": not text, "existed": answer.existed}
        if not st.out.as_json:
            there = "deleted" if answer.existed else "was not there"
            st.out.line(f"{safe(key, 64)} {there}" if not text else f"{safe(key, 64)} = {safe(text)}")
    if st.out.as_json:
        st.out.json(done)


def status(
    ctx: typer.Context,
    deployment: Annotated[str, typer.Argument(metavar="[DEPLOYMENT]", help="Its id; else all.")] = "",
    *,
    device: Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="On this device only.")] = "",
) -> None:
    """Show how running programs fare: state, uptime, turns, errors, timers, store, and what they report of themselves.

    Examples:  `ygg program status`   `ygg program status thermostat -d porch-1`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    found = _call(st, "ListInstances", pb.ListInstancesRequest(deployment_id=deployment, device_id=device)).instances
    if deployment and not found:
        _call(st, "GetProgram", pb.GetProgramRequest(id=deployment))  # says that there is none
    asked = {n: _statistics(st, each) for n, each in enumerate(found)} if len(found) <= MAX_ASKED else {}
    if st.out.as_json:
        st.out.json([_as_json(each, asked.get(n)) for n, each in enumerate(found)])
        return
    if not found:
        st.out.line("no program runs")
        st.out.remark("Begin with one:  ygg program deploy examples/programs/blink.lua -d DEVICE")
        return
    columns = ("DEPLOYMENT", "DEVICE", "VERSION", "STATE", "UPTIME", "TURNS", "ERRORS", "TIMERS", "STORE", "PROBLEM")
    left_out = ("TIMERS", "STORE", "TURNS", "UPTIME", "ERRORS")
    st.out.table(columns, [_row(each, asked.get(n)) for n, each in enumerate(found)], optional=left_out)
    for line in (line for each in found for line in program_show.reported(each)):
        st.out.prose(f"  {line}")
    if not asked:
        st.out.remark(f"{len(found)} instances: name a deployment or a device to see their statistics", "dim")


def _statistics(st: State, instance: pb.ProgramInstance) -> pb.ProgramStatistics | None:
    """None where it does not run."""
    from services.domain.errors import Code, YggError
    from yggdrasil.loki.v1 import program_pb2 as pb

    if instance.state not in (pb.INSTANCE_STATE_RUNNING, pb.INSTANCE_STATE_SUSPENDED):
        return None
    ref = pb.InstanceRef(deployment_id=instance.deployment_id, device_id=instance.device_id)
    try:
        found: pb.ProgramStatistics = _call(st, "GetStatistics", pb.GetStatisticsRequest(instance=ref)).statistics
    except YggError as e:
        if e.code is Code.FAILED_PRECONDITION:  # it stopped meanwhile
            return None
        raise
    return found


def _row(each: pb.ProgramInstance, seen: pb.ProgramStatistics | None) -> tuple[str, ...]:
    from ygg.cli import program_show
    from ygg.output import ago

    used: tuple[str, ...] = ("-", "-", "-", "-", "-")
    if seen is not None:
        uptime_s = seen.uptime.ToMilliseconds() / 1000
        used = (
            f"{uptime_s:.0f} s" if uptime_s < 2 else ago(uptime_s),
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

    told = program_show.data(each) | {"reported": values.to_json(values_from_proto(each.reported))}
    return told | {"state": program_show.state_of(each), "statistics": program_show.data(seen) if seen else None}
