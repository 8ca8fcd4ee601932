"""`ygg device watch`: what devices report, as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ygg.cli.state import State, state
from ygg.exits import UsageError

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
        list[str] | None, typer.Option("--kind", help="online, offline, contract or event; repeatable.")
    ] = None,
) -> None:
    """Show what devices report and what happens to them, from now on. Ctrl-C ends it.

    Examples:  `ygg device watch`   `ygg device watch porch-1 --kind event`   `ygg --json device watch | jq .`
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
        for event in _events(st, mesh, request):
            if st.out.as_json:
                st.out.record(describe.event_json(event))
            else:
                st.out.line(f"{moment(event.time).astimezone():%H:%M:%S}  {describe.event_line(event)}")


def _events(st: State, mesh: Mesh, request: Any) -> Iterator[Any]:
    """Events for ever; goes on by itself once it has begun and the bridge went away, and says so."""
    from services.domain.errors import Code, YggError
    from yggdrasil.jotunheim.v1 import bridge_pb2_grpc

    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    lost = False
    while True:
        responses = stub.WatchEvents(request, wait_for_ready=lost)
        try:
            for response in mesh.stream("jotunheim_bridge", responses):
                if lost:
                    st.out.remark("the bridge is back")
                    lost = False
                yield response.event
        except YggError as e:
            if e.code is not Code.UNAVAILABLE or not _has_begun(responses):
                raise
            st.out.remark("the bridge went away; what happens until it is back is not shown")
            lost = True
        time.sleep(_RETRY_S)


def _has_begun(responses: Any) -> bool:
    return bool(responses.initial_metadata())
