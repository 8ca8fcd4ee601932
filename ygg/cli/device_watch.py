"""`ygg device watch`: what devices report, as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ygg.cli import following, select
from ygg.cli.select import Group, Has, Selector
from ygg.cli.state import State, state
from ygg.exits import CliError, Exit, UsageError

if TYPE_CHECKING:
    from ygg.client import Mesh

_RETRY_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the command to `ygg device`."""
    app.command()(watch)


def watch(
    ctx: typer.Context,
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Only these; none means all.")
    ] = None,
    *,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="online, offline, refused, contract, event or telemetry; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CAPABILITY[.NAME]", help="Only its events and samples; repeatable."),
    ] = None,
    selector: Selector = "",
    group: Group = "",
    has: Has = None,
) -> None:
    """Show what devices report and what happens to them, from now on. Ctrl-C ends it.

    With -l, --group or --has: the devices that meet it now.

    Examples:  `ygg device watch`   `ygg device watch porch-1 --kind event`   `ygg device watch -l zone=hall`
    `ygg device watch --only gpio0.changed`   `ygg --json device watch | jq .`
    """
    from services.chassis.codec import moment
    from ygg import describe
    from yggdrasil.jotunheim.v1 import bridge_pb2

    names = {
        name.removeprefix("EVENT_KIND_").lower(): number for name, number in bridge_pb2.EventKind.items() if number
    }
    for name in kind or ():
        if name not in names:
            raise UsageError(f"there is no kind {name!r}", hint=f"There are: {', '.join(names)}.")
    st = state(ctx)
    request = bridge_pb2.WatchEventsRequest(device_ids=devices or [], kinds=[names[name] for name in kind or ()])
    with st.mesh() as mesh:
        known = following.known(st, mesh, devices or [])
        if selector.strip() not in ("", "*") or group or has:
            request.device_ids.extend(_found(mesh, selector, group, has or []))
        what = f"{' and '.join(kind)} events" if kind else "what happens"
        what += f", of {', '.join(only)}" if only else ""

        def begins() -> None:
            for device in known:
                if (life := describe.device_state(device)) != "online":
                    following.waiting(st, f"{device.id} is {life} now.")
            watched = following.named(request.device_ids)
            following.waiting(st, f"Waiting for {what} from now on: {watched}. Ctrl-C ends it.")

        for event in _events(st, mesh, request, begins):
            if only and not {event.capability, f"{event.capability}.{event.name}"} & set(only):
                continue
            if st.out.as_json:
                st.out.record(describe.event_json(event))
            else:
                st.out.line(f"{moment(event.time).astimezone():%H:%M:%S}  {describe.event_line(event)}")


def _found(mesh: Mesh, selector: str, group: str, has: list[str]) -> list[str]:
    """The devices that meet it now. Raises CliError where there is none: to watch none would mean to watch all."""
    from yggdrasil.registry.v1 import registry_pb2

    request = registry_pb2.ListDevicesRequest(selector=selector, group=group, has=has)
    found = [device.id for device in select.all_devices(mesh, request)]
    if not found:
        raise CliError("no device meets that now", code=Exit.NOT_FOUND)
    return found


def _events(st: State, mesh: Mesh, request: Any, begins: Callable[[], None]) -> Iterator[Any]:
    """Events without end; calls `begins` once it watches. After the bridge was away it goes on where it was."""
    from services.domain.errors import Code, YggError
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    # One answer first: a mesh that cannot be reached at all is an error, one that went away is waited for.
    mesh.call("jotunheim_bridge", stub.ListSessions, bridge_pb2.ListSessionsRequest(page_size=1))
    said = False
    while True:
        try:
            watching = stub.WatchEvents(request)
            sequence = dict(watching.initial_metadata()).get("ygg-watch-sequence")
            if sequence:
                request.after_sequence = int(sequence)
            if not said:
                begins()
                said = True
            for response in mesh.stream("jotunheim_bridge", watching):
                request.after_sequence = response.sequence
                yield response.event
        except YggError as e:
            if e.code is not Code.UNAVAILABLE:
                raise
        st.out.remark("the bridge went away; waiting until it is back")
        _wait_for(mesh, stub.ListSessions, bridge_pb2.ListSessionsRequest(page_size=1))
        st.out.remark("the bridge is back")


def _wait_for(mesh: Mesh, method: Any, request: Any) -> None:
    from services.domain.errors import Code, YggError

    while True:
        time.sleep(_RETRY_S)
        try:
            mesh.call("jotunheim_bridge", method, request)
        except YggError as e:
            if e.code not in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                raise
        else:
            return
