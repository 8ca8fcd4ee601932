"""`ygg ota rollout`: start, watch and control rollouts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.domain.errors import Code, YggError
from ygg.cli.ota_app import UINT32_MAX, rollout_app
from ygg.cli.ota_shown import panel, parts, rollout_data, words
from ygg.cli.ota_upload import WAITS_S
from ygg.cli.select import Yes, confirmed
from ygg.cli.state import State, state
from ygg.exits import UsageError
from ygg.output import Output, counted, safe

if TYPE_CHECKING:
    from ygg.client import Mesh

Rollout = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Rollout id, such as r-3f9a1c.")]
Newest = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Rollout id; default: the newest.")]


def parse_waves(text: str) -> list[tuple[int, int]]:
    """Parse `2,25%,100%` into pairs of count and percent. Raises UsageError."""
    found = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(%?)\s*", word)
        if not match or not int(match[1]):
            raise UsageError(f"invalid wave {word!r}", hint="Expected counts and percentages: --waves 2,25%,100%")
        found.append((0, int(match[1])) if match[2] else (int(match[1]), 0))
    if found[-1] != (0, 100):
        found.append((0, 100))
    return found


def parse_limit(text: str) -> tuple[int, int]:
    """Parse `10%` or `3` into count and percent. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,6})(%?)", text)
    if not match or not int(match[1]):
        raise UsageError(f"invalid limit {text!r}", hint="Expected --halt-at 10% or --halt-at 3")
    return (0, int(match[1])) if match[2] else (int(match[1]), 0)


@rollout_app.command()
def start(
    ctx: typer.Context,
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="Release id, at least 8 digits of it, or CLASS@VERSION.")
    ],
    *,
    selector: Annotated[
        str,
        typer.Option("--selector", "-l", metavar="SELECTOR", help="Label selector; default: all devices of the class."),
    ] = "",
    waves: Annotated[
        str, typer.Option("--waves", metavar="WAVES", help="Cumulative device counts or percentages.")
    ] = "100%",
    halt_at: Annotated[
        str, typer.Option("--halt-at", metavar="LIMIT", help="Failures that halt the rollout: a count or percentage.")
    ] = "10%",
    soak: Annotated[
        int, typer.Option("--soak", min=0, max=UINT32_MAX, help="Seconds to observe a wave before the next.")
    ] = 0,
    rate: Annotated[
        int,
        typer.Option(
            "--rate", min=0, max=UINT32_MAX, help="Maximum devices started per minute, evenly spread; 0: no limit."
        ),
    ] = 0,
    timeout: Annotated[
        int, typer.Option("--timeout", min=10, max=UINT32_MAX, help="Timeout per device, in seconds.")
    ] = 900,
    approve: Annotated[bool, typer.Option("--approve", help="Require approval of each wave after the first.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Include devices that reverted or rejected this release.")
    ] = False,
    late: Annotated[
        bool, typer.Option("--late", help="Include devices that match later, until the rollout is aborted.")
    ] = False,
    roll_back: Annotated[bool, typer.Option("--roll-back", help="Roll its devices back on a halt.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan without starting it.")] = False,
) -> None:
    """Start a rollout.

    Example:
    - `ygg ota rollout start sim-board@2.1.0 -l zone=hall --waves 2,25%,100% --halt-at 10% --dry-run`
    """
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    st = state(ctx)
    count, percent = parse_limit(halt_at)
    with st.mesh() as mesh:
        spec = pb.RolloutSpec(
            release_id=_release(mesh, release),
            selector=selector,
            waves=[pb.Wave(percent=p) if p else pb.Wave(count=c) for c, p in parse_waves(waves)],
            soak_s=soak,
            halt_count=count,
            halt_percent=percent,
            rate_per_minute=rate,
            approval=approve,
            retry_failed=retry,
            late_joiners=late,
            roll_back_on_halt=roll_back,
            device_timeout_s=timeout,
        )
        answer = mesh.call("ota", _stub(mesh).StartRollout, pb.StartRolloutRequest(spec=spec, dry_run=dry_run))
    _started(st.out, answer, dry_run=dry_run)


def _started(out: Output, answer: Any, *, dry_run: bool) -> None:
    found = answer.rollout
    if out.as_json:
        unfit = {each.device_id: each.reason for each in answer.unfit}
        out.json({**rollout_data(found), "dry_run": dry_run, "unfit_devices": unfit})
        return
    counts, number = found.counts, len(found.spec.waves)
    devices = counted(counts.total, "device")
    action = f"would update {devices}" if dry_run else f"{found.id}: updating {devices}"
    out.line(
        f"{action} to {safe(found.version)} in {counted(number, 'wave')}; "
        f"first wave: {found.wave_target}, halts at {counted(found.halt_at, 'failure')}"
    )
    for each in answer.unfit[:10]:
        out.prose(f"  skipped {each.device_id}: {safe(each.reason)}")
    if not dry_run:
        out.remark(f"Watch it:  ygg ota rollout watch {found.id}", "dim")


@rollout_app.command()
def watch(ctx: typer.Context, rollout: Newest = "") -> None:
    """Watch a rollout until it ends; Ctrl-C stops watching only.

    With --json, each change is printed as one line.
    """
    st = state(ctx)
    with st.mesh() as mesh:
        found = _follow(mesh, st.out, rollout or _newest(mesh))
        if st.out.as_json or not st.out.console.is_terminal:
            for each in found:
                _show(st.out, each)
            return
        from rich.live import Live

        with Live(console=st.out.console, refresh_per_second=8) as live:
            for each in found:
                live.update(panel(each))


def _follow(mesh: Mesh, out: Output, rollout: str) -> Iterator[Any]:
    """Yield the rollout after each change until its end, across restarts of the service. Raises YggError."""
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    last, tries = None, 0
    while True:
        try:
            for each in mesh.stream("ota", _stub(mesh).WatchRollout(pb.WatchRolloutRequest(id=rollout))):
                if last is None and not out.as_json:
                    out.remark(f"Watching {rollout} until it ends. Ctrl-C stops watching only.", "dim")
                if each.rollout != last:
                    yield each.rollout
                last, tries = each.rollout, 0
            return
        except YggError as e:
            if last is None or e.code is not Code.UNAVAILABLE or tries == len(WAITS_S):
                raise
            out.remark(f"connection to the service lost; reconnecting in {WAITS_S[tries]:g} s", "dim")
            time.sleep(WAITS_S[tries])
            tries += 1


def _show(out: Output, found: Any) -> None:
    if out.as_json:
        out.record(rollout_data(found))
    else:
        out.prose(*parts(found))


@rollout_app.command("ls")
def list_rollouts(ctx: typer.Context) -> None:
    """List rollouts, newest first."""
    st = state(ctx)
    with st.mesh() as mesh:
        found = _all(mesh)
    if st.out.as_json:
        st.out.json([rollout_data(each) for each in found])
        return
    for each in found:
        st.out.prose(*parts(each))


def _all(mesh: Mesh) -> Any:
    """Return every rollout, newest first."""
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    return mesh.call("ota", _stub(mesh).ListRollouts, pb.ListRolloutsRequest()).rollouts


def _newest(mesh: Mesh) -> str:
    """Return the id of the newest rollout. Raises UsageError if there are no rollouts."""
    for each in _all(mesh):
        return str(each.id)
    raise UsageError("no rollouts yet", hint="Start one:  ygg ota rollout start RELEASE --dry-run")


@rollout_app.command("status")
def show(ctx: typer.Context, rollout: Newest = "") -> None:
    """Show a rollout and the progress of each device."""
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    st = state(ctx)
    with st.mesh() as mesh:
        rollout = rollout or _newest(mesh)
        found = mesh.call("ota", _stub(mesh).GetRollout, pb.GetRolloutRequest(id=rollout)).rollout
        updates = mesh.call("ota", _stub(mesh).ListUpdates, pb.ListUpdatesRequest(rollout_id=rollout)).updates
    if st.out.as_json:
        devices = [
            {
                "device_id": u.device_id,
                "stage": u.stage,
                "written_bytes": u.written_bytes,
                "size_bytes": u.size_bytes,
                "reason": u.reason,
                "delta": u.delta,
            }
            for u in updates
        ]
        st.out.json({**rollout_data(found), "devices": devices})
        return
    st.out.prose(*parts(found))
    rows = [(u.device_id, words(u.stage), _bytes(u), "patch" if u.delta else "image", safe(u.reason)) for u in updates]
    st.out.table(("DEVICE", "STAGE", "BYTES", "METHOD", "REASON"), rows, optional=("METHOD", "BYTES"))


def _bytes(update: Any) -> str:
    return f"{update.written_bytes}/{update.size_bytes}" if update.size_bytes else ""


def _control(ctx: typer.Context, rollout: str, what: str) -> None:
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    st = state(ctx)
    control = pb.RolloutControl.Value(f"ROLLOUT_CONTROL_{what}")
    with st.mesh() as mesh:
        request = pb.ControlRolloutRequest(id=rollout, control=control)
        _show(st.out, mesh.call("ota", _stub(mesh).ControlRollout, request).rollout)


@rollout_app.command()
def pause(ctx: typer.Context, rollout: Rollout) -> None:
    """Pause a rollout; updates in progress continue."""
    _control(ctx, rollout, "PAUSE")


@rollout_app.command()
def resume(ctx: typer.Context, rollout: Rollout) -> None:
    """Resume a paused or halted rollout.

    Acknowledges all failures so far and restarts stopped devices.
    """
    _control(ctx, rollout, "RESUME")


@rollout_app.command()
def abort(ctx: typer.Context, rollout: Rollout, *, yes: Yes = False) -> None:
    """Abort a rollout permanently.

    Devices that have not booted the image yet are stopped, offline ones when they reconnect.
    """
    confirmed(f"Abort {safe(rollout)}? It cannot be resumed; consider `pause`.", yes=yes)
    _control(ctx, rollout, "ABORT")


@rollout_app.command("approve")
def approve_wave(ctx: typer.Context, rollout: Rollout) -> None:
    """Approve the next wave."""
    _control(ctx, rollout, "APPROVE")


@rollout_app.command("rollback")
def roll_back_fleet(
    ctx: typer.Context,
    rollout: Rollout,
    to: Annotated[
        str, typer.Option("--to", metavar="RELEASE", help="Release to roll back to; default: the previous one.")
    ] = "",
) -> None:
    """Roll devices of a rollout back to an earlier release.

    Example:
    - `ygg ota rollout rollback r-3f9a1c`
    """
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    st: State = state(ctx)
    with st.mesh() as mesh:
        release = _release(mesh, to) if to else ""
        request = pb.RollBackRequest(id=rollout, release_id=release)
        _show(st.out, mesh.call("ota", _stub(mesh).RollBack, request).rollout)


def _stub(mesh: Mesh) -> Any:
    from yggdrasil.ota.v1 import rollout_pb2_grpc

    return rollout_pb2_grpc.RolloutServiceStub(mesh.channel("ota"))


def _release(mesh: Mesh, text: str) -> str:
    """Return the id of release CLASS@VERSION; any other text is an id or a prefix of one. Raises UsageError."""
    if "@" not in text:
        return text
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    device_class, _, version = text.rpartition("@")
    stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
    request = release_pb2.ListReleasesRequest(device_class=device_class)
    return matching_release(
        text, [r for r in mesh.call("ota", stub.ListReleases, request).releases if r.version == version]
    )


def matching_release(text: str, found: Sequence[Any]) -> str:
    """Return the id of the single release that matches CLASS@VERSION. Raises UsageError if none or several match."""
    if not found:
        raise UsageError(f"release {safe(text)} not found", hint="List releases:  ygg ota status")
    if len(found) > 1:
        each = ", ".join(f"{r.id[:12]} (sequence {r.sequence})" for r in found)
        raise UsageError(f"{safe(text)} matches {len(found)} releases: {each}", hint="Pass the id of one.")
    return str(found[0].id)
