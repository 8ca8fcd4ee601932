"""`ygg doctor`: what this machine lacks."""

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
    """Say what this machine lacks to run, build and test the mesh, and how to get it.

    The mesh is that of the context. If it runs elsewhere, your identity there is checked instead of its keys. If it
    answers, its devices' certificates are checked, too.

    Exit code 1 where something is missing that the mesh cannot run without.
    """
    from ygg import doctor as checks

    st = state(ctx)
    name, context = st.context()
    if context.mesh:
        found = list(checks.examine(Layout(Path(context.mesh)), utc_now()))
    else:
        found = list(checks.elsewhere(Layout(st.home.mesh), name, context, utc_now()))
    with contextlib.suppress(YggError, CliError):  # only a mesh that answers has devices to report
        if (Path(context.identity) / "cert.pem").exists():
            with st.mesh() as mesh:
                found += checks.fleet(mesh, utc_now())
    if st.out.as_json:
        st.out.json([asdict(one) for one in found])
    for one in found if not st.out.as_json else ():
        mark, style = ("✓", "green") if one.ok else ("✗", "red" if one.need == "must" else "yellow")
        st.out.prose(f"{mark} {one.text}{'' if one.ok else f'.  {one.fix}'}", style=style)
    return int(Exit.OK if all(one.ok for one in found if one.need == "must") else Exit.FAILED)
