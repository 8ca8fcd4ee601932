"""`ygg doctor`: check the prerequisites on this machine."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path

import typer

from services.domain.errors import YggError
from ygg.cli.state import state
from ygg.exits import CliError, Exit
from ygg.mesh.layout import Layout
from ygg.pki.store import utc_now


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(doctor)


def doctor(ctx: typer.Context) -> int:
    """Check the prerequisites to run, build and test the mesh, and suggest fixes.

    Checks tools, disk and certificates of the current context. For a remote mesh, your identity is checked instead of
    the mesh's keys. If the mesh is reachable, certificates of its devices are checked as well.

    Exit code 1 if a required item is missing.
    """
    from ygg import doctor as checks

    st = state(ctx)
    name, context = st.context()
    if context.mesh:
        found = list(checks.examine(Layout(Path(context.mesh)), utc_now()))
    else:
        found = list(checks.examine_remote(Layout(st.home.mesh), name, context, utc_now()))
    with contextlib.suppress(YggError, CliError):  # an unreachable mesh has no device checks
        if (Path(context.identity) / "cert.pem").exists():
            with st.mesh() as mesh:
                found += checks.fleet(mesh, utc_now())
    if st.out.as_json:
        st.out.json([asdict(one) for one in found])
    for one in found if not st.out.as_json else ():
        mark, style = ("✓", "green") if one.ok else ("✗", "red" if one.need == "must" else "yellow")
        st.out.prose(f"{mark} {one.text}{'' if one.ok else f'.  {one.fix}'}", style=style)
    return int(Exit.OK if all(one.ok for one in found if one.need == "must") else Exit.FAILED)
