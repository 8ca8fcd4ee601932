"""`ygg device watch`: live events of devices."""

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
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE", help="Devices; default: all.")] = None,
    *,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="online, offline, refused, contract, event or telemetry; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CAPABILITY[.NAME]", help="Events and samples of this capability; repeatable."),
    ] = None,
    selector: Selector = "",
    group: Group = "",
    has: Has = None,
) -> None:
    """Watch events of devices until Ctrl-C.

    -l, --group and --has are evaluated once, at the start.

    Examples:
    - `ygg device watch`
    - `ygg device watch porch-1 --kind event`
    - `ygg device watch -l zone=hall`
    - `ygg device watch --only gpio0.changed`
    - `ygg --json device watch | jq .`
    """
    from services.chassis.codec import moment
    from ygg import describe
    from yggdrasil.jotunheim.v1 import bridge_pb2

    names = {
        name.removeprefix("EVENT_KIND_").lower(): number for name, number in bridge_pb2.EventKind.items() if number
    }
    for name in kind or ():
        if name not in names:
            raise UsageError(f"unknown kind {name!r}", hint=f"Expected one of {', '.join(names)}.")
    st = state(ctx)
    request = bridge_pb2.WatchEventsRequest(device_ids=devices or [], kinds=[names[name] for name in kind or ()])
    with st.mesh() as mesh:
        known = following.known_devices(st, mesh, devices or [])
        if selector.strip() not in ("", "*") or group or has:
            request.device_ids.extend(_found(mesh, selector, group, has or []))
        what = f"{' and '.join(kind)} events" if kind else "events"
        what += f" of {', '.join(only)}" if only else ""

        def on_start() -> None:
            for device in known:
                if (life := describe.device_state(device)) != "online":
                    following.notice(st, f"{device.id} is {life}.")
            watched = following.device_names(request.device_ids)
            following.notice(st, f"Watching {what}: {watched}. Press Ctrl-C to stop.")

        for event in _events(st, mesh, request, on_start):
            if only and not {event.capability, f"{event.capability}.{event.name}"} & set(only):
                continue
            if st.out.as_json:
                st.out.record(describe.event_json(event))
            else:
                st.out.line(f"{moment(event.time).astimezone():%H:%M:%S}  {describe.event_line(event)}")


def _found(mesh: Mesh, selector: str, group: str, has: list[str]) -> list[str]:
    """Return the matching device ids. Raises CliError if none match, since an empty list would watch all devices."""
    from yggdrasil.registry.v1 import registry_pb2

    request = registry_pb2.ListDevicesRequest(selector=selector, group=group, has=has)
    found = [device.id for device in select.all_devices(mesh, request)]
    if not found:
        raise CliError("no devices match", code=Exit.NOT_FOUND)
    return found


def _events(st: State, mesh: Mesh, request: Any, on_start: Callable[[], None]) -> Iterator[Any]:
    """Yield events without end; call `on_start` once the watch is open. Resumes after an outage of the bridge."""
    from services.domain.errors import Code, YggError
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    # Fail if the bridge is unreachable at the start; reconnect only after a first success.
    mesh.call("jotunheim_bridge", stub.ListSessions, bridge_pb2.ListSessionsRequest(page_size=1))
    started = False
    while True:
        try:
            watching = stub.WatchEvents(request)
            sequence = dict(watching.initial_metadata()).get("ygg-watch-sequence")
            if sequence:
                request.after_sequence = int(sequence)
            if not started:
                on_start()
                started = True
            for response in mesh.stream("jotunheim_bridge", watching):
                request.after_sequence = response.sequence
                yield response.event
        except YggError as e:
            if e.code is not Code.UNAVAILABLE:
                raise
        st.out.remark("connection to the bridge lost; reconnecting")
        _wait_for(mesh, stub.ListSessions, bridge_pb2.ListSessionsRequest(page_size=1))
        st.out.remark("reconnected to the bridge")


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
