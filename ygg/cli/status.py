"""`ygg status`: health of the mesh."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import typer

from ygg.cli.state import state
from ygg.exits import Exit
from ygg.mesh.layout import Layout
from ygg.mesh.runstate import RunDir
from ygg.output import duration


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(status)


def status(ctx: typer.Context) -> int:
    """Show the health of services, NATS and loki workers.

    READY is `partly` if a service serves without one of its dependencies; the note names it.

    Exit code 0 if all are ready or workers are still starting, otherwise 3.

    Examples:
    - `ygg status`
    - `ygg --context compose status`
    """
    from ygg.health import collect

    st = state(ctx)
    with st.mesh() as mesh:
        found = collect(mesh)
        restarts = _restarts(mesh.context.mesh)
    found = [
        replace(one, note=f"{one.note}; {_times(restarts[one.service])}") if restarts.get(one.service) else one
        for one in found
    ]
    if st.out.as_json:
        st.out.json([asdict(one) for one in found])
    else:
        rows = [
            (
                one.service,
                "yes" if one.ready else "partly" if one.serving else "no",
                one.version or "-",
                "-"
                if one.uptime_s is None
                else f"{one.uptime_s:.0f} s"
                if one.uptime_s < 2
                else duration(one.uptime_s),
                one.note,
            )
            for one in found
        ]
        st.out.table(("SERVICE", "READY", "VERSION", "UPTIME", "NOTE"), rows, optional=("UPTIME", "VERSION"))
    return int(Exit.OK if all(one.ready or one.starting for one in found) else Exit.UNREACHABLE)


def _times(count: int) -> str:
    return "restarted once" if count == 1 else f"restarted {count} times"


def _restarts(folder: str) -> dict[str, int]:
    """Return the restart count of each child of an embedded mesh."""
    if not folder:
        return {}
    run_dir = RunDir(Layout(Path(folder)).run)
    found = run_dir.read() if run_dir.running() else None
    return found.restarts if found else {}
