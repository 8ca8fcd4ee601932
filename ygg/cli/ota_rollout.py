"""`ygg ota rollout`: start, watch, pause, resume, approve, abort, roll back, look at the devices."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.domain.errors import Code, YggError
from ygg.cli.ota_app import UINT32_MAX, rollout_app
from ygg.cli.ota_shown import as_data, panel, parts, words
from ygg.cli.ota_upload import WAITS_S
from ygg.cli.select import Yes, confirmed
from ygg.cli.state import State, state
from ygg.exits import UsageError
from ygg.output import Output, counted, safe

if TYPE_CHECKING:
    from ygg.client import Mesh

Rollout = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id, such as r-3f9a1c.")]
Newest = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id; the newest one where it is left out.")]


def parse_waves(text: str) -> list[tuple[int, int]]:
    """`2,25%,100%` as pairs of count and percent; raises UsageError."""
    found = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(%?)\s*", word)
        if not match or not int(match[1]):
            raise UsageError(f"{word!r} is no wave", hint="Counts and percents: --waves 2,25%,100%")
        found.append((0, int(match[1])) if match[2] else (int(match[1]), 0))
    if found[-1] != (0, 100):
        found.append((0, 100))
    return found


def parse_limit(text: str) -> tuple[int, int]:
    """`10%` or `3` as count and percent; raises UsageError."""
    match = re.fullmatch(r"(\d{1,6})(%?)", text)
    if not match or not int(match[1]):
        raise UsageError(f"{text!r} is no limit", hint="Such as --halt-at 10% or --halt-at 3")
    return (0, int(match[1])) if match[2] else (int(match[1]), 0)


@rollout_app.command()
def start(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(help="Release: its id, 8 digits of it, or CLASS@VERSION.")],
    *,
    selector: Annotated[str, typer.Option("--selector", "-l", help="Labels; all of the class where not given.")] = "",
    waves: Annotated[str, typer.Option("--waves", help="Counts and percents, each with those before.")] = "100%",
    halt_at: Annotated[str, typer.Option("--halt-at", help="Failures that halt it: 10% or a count.")] = "10%",
    soak: Annotated[
        int, typer.Option("--soak", min=0, max=UINT32_MAX, help="Seconds to watch a wave before the next.")
    ] = 0,
    rate: Annotated[
        int,
        typer.Option(
            "--rate", min=0, max=UINT32_MAX, help="Devices started a minute at most, spread over it; 0: no limit."
        ),
    ] = 0,
    timeout: Annotated[int, typer.Option("--timeout", min=10, max=UINT32_MAX, help="Seconds a device may take.")] = 900,
    approve: Annotated[bool, typer.Option("--approve", help="A person approves each wave after the first.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Also devices that reverted from it or refused it.")] = False,
    late: Annotated[
        bool, typer.Option("--late", help="Also devices that come to match later, until it is aborted.")
    ] = False,
    roll_back: Annotated[bool, typer.Option("--roll-back", help="On a halt, bring its devices back.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
) -> None:
    """Start a rollout.

    Example:  `ygg ota rollout start sim-board@2.1.0 -l zone=hall --waves 2,25%,100% --halt-at 10% --dry-run`
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
        out.json({**as_data(found), "dry_run": dry_run, "unfit_devices": unfit})
        return
    counts, number = found.counts, len(found.spec.waves)
    devices = counted(counts.total, "device")
    said = f"would update {devices}" if dry_run else f"{found.id}: updates {devices}"
    out.line(
        f"{said} to {safe(found.version)} in {counted(number, 'wave')}, "
        f"first {found.wave_target}; halts at {found.halt_at} failed there"
    )
    for each in answer.unfit[:10]:
        out.prose(f"  not {each.device_id}: {safe(each.reason)}")
    if not dry_run:
        out.remark(f"watch it:  ygg ota rollout watch {found.id}", "dim")


@rollout_app.command()
def watch(ctx: typer.Context, rollout: Newest = "") -> None:
    """Follow a rollout until it has ended. With --json: one line for every change. Ctrl-C ends watching only."""
    st = state(ctx)
    with st.mesh() as mesh:
        found = _follow(mesh, st.out, rollout or _newest(mesh))
        if st.out.as_json or not st.out.console.is_terminal:
            for each in found:
                _told(st.out, each)
            return
        from rich.live import Live

        with Live(console=st.out.console, refresh_per_second=8) as live:
            for each in found:
                live.update(panel(each))


def _follow(mesh: Mesh, out: Output, rollout: str) -> Iterator[Any]:
    """The rollout whenever it has changed, to its end, through restarts of the service. Raises what it answers."""
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    last, tries = None, 0
    while True:
        try:
            for each in mesh.stream("ota", _stub(mesh).WatchRollout(pb.WatchRolloutRequest(id=rollout))):
                if last is None and not out.as_json:
                    out.remark(f"Following {rollout} until it has ended. Ctrl-C ends only this.", "dim")
                if each.rollout != last:
                    yield each.rollout
                last, tries = each.rollout, 0
            return
        except YggError as e:
            if last is None or e.code is not Code.UNAVAILABLE or tries == len(WAITS_S):
                raise
            out.remark(f"the service went away; watching again in {WAITS_S[tries]:g} s", "dim")
            time.sleep(WAITS_S[tries])
            tries += 1


def _told(out: Output, found: Any) -> None:
    if out.as_json:
        out.record(as_data(found))
    else:
        out.prose(*parts(found))


@rollout_app.command("ls")
def list_rollouts(ctx: typer.Context) -> None:
    """List rollouts, newest first."""
    st = state(ctx)
    with st.mesh() as mesh:
        found = _all(mesh)
    if st.out.as_json:
        st.out.json([as_data(each) for each in found])
        return
    for each in found:
        st.out.prose(*parts(each))


def _all(mesh: Mesh) -> Any:
    """Every rollout, newest first."""
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    return mesh.call("ota", _stub(mesh).ListRollouts, pb.ListRolloutsRequest()).rollouts


def _newest(mesh: Mesh) -> str:
    """The id of the newest rollout; raises UsageError where there is none."""
    for each in _all(mesh):
        return str(each.id)
    raise UsageError("there is no rollout yet", hint="Start one: ygg ota rollout start RELEASE --dry-run")


@rollout_app.command("status")
def show(ctx: typer.Context, rollout: Newest = "") -> None:
    """Show a rollout and how far each of its devices is."""
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
        st.out.json({**as_data(found), "devices": devices})
        return
    st.out.prose(*parts(found))
    rows = [(u.device_id, words(u.stage), _bytes(u), "patch" if u.delta else "image", safe(u.reason)) for u in updates]
    st.out.table(("DEVICE", "STAGE", "BYTES", "BY", "WHY"), rows, optional=("BY", "BYTES"))


def _bytes(update: Any) -> str:
    return f"{update.written_bytes}/{update.size_bytes}" if update.size_bytes else ""


def _control(ctx: typer.Context, rollout: str, what: str) -> None:
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    st = state(ctx)
    control = pb.RolloutControl.Value(f"ROLLOUT_CONTROL_{what}")
    with st.mesh() as mesh:
        request = pb.ControlRolloutRequest(id=rollout, control=control)
        _told(st.out, mesh.call("ota", _stub(mesh).ControlRollout, request).rollout)


@rollout_app.command()
def pause(ctx: typer.Context, rollout: Rollout) -> None:
    """Start no more devices; those under way go on."""
    _control(ctx, rollout, "PAUSE")


@rollout_app.command()
def resume(ctx: typer.Context, rollout: Rollout) -> None:
    """Go on after a pause or a halt. Failures until now are acknowledged, stopped devices are started again."""
    _control(ctx, rollout, "RESUME")


@rollout_app.command()
def abort(ctx: typer.Context, rollout: Rollout, *, yes: Yes = False) -> None:
    """End it for good. Devices that have not booted the image yet are stopped, those that are away once they return."""
    confirmed(f"End {safe(rollout)}? It cannot be resumed; `pause` can.", yes=yes)
    _control(ctx, rollout, "ABORT")


@rollout_app.command("approve")
def approve_wave(ctx: typer.Context, rollout: Rollout) -> None:
    """Let the next wave begin."""
    _control(ctx, rollout, "APPROVE")


@rollout_app.command("rollback")
def roll_back_fleet(
    ctx: typer.Context,
    rollout: Rollout,
    to: Annotated[str, typer.Option("--to", help="Release to go back to; the one before where not given.")] = "",
) -> None:
    """Bring the devices that have its release back to an earlier one.

    Example:  `ygg ota rollout rollback r-3f9a1c`
    """
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    st: State = state(ctx)
    with st.mesh() as mesh:
        release = _release(mesh, to) if to else ""
        request = pb.RollBackRequest(id=rollout, release_id=release)
        _told(st.out, mesh.call("ota", _stub(mesh).RollBack, request).rollout)


def _stub(mesh: Mesh) -> Any:
    from yggdrasil.ota.v1 import rollout_pb2_grpc

    return rollout_pb2_grpc.RolloutServiceStub(mesh.channel("ota"))


def _release(mesh: Mesh, text: str) -> str:
    """The id of the release CLASS@VERSION; any other text is an id or the beginning of one. Raises UsageError."""
    if "@" not in text:
        return text
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    device_class, _, version = text.rpartition("@")
    stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
    request = release_pb2.ListReleasesRequest(device_class=device_class)
    return only(text, [r for r in mesh.call("ota", stub.ListReleases, request).releases if r.version == version])


def only(text: str, found: Sequence[Any]) -> str:
    """The id of the one release that CLASS@VERSION means; raises UsageError for none and for several."""
    if not found:
        raise UsageError(f"there is no release {safe(text)}", hint="See `ygg ota status`.")
    if len(found) > 1:
        each = ", ".join(f"{r.id[:12]} (number {r.sequence})" for r in found)
        raise UsageError(f"{safe(text)} names {len(found)} releases: {each}", hint="Name one by its id.")
    return str(found[0].id)
