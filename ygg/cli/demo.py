"""`ygg demo`: what `make demo` runs. Hidden, since it needs a checkout: the agent and the examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ygg.cli.state import state


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command(hidden=True)(demo)


def demo(
    ctx: typer.Context,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the mesh running, as the context `demo`.")] = False,
    agent: Annotated[Path | None, typer.Option(help="The posix agent.")] = None,
    examples: Annotated[Path | None, typer.Option(help="Folder of blink.lua and alarm.scm.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Where to write what was measured.")] = None,
) -> int:
    """Show the main job on a mesh of its own, checked on the devices' boards; leaves nothing running."""
    from ygg.demo.show import Options, run

    given = {"agent": agent, "examples": examples, "figures": figures}
    return int(run(state(ctx).out, Options(keep=keep, **{key: path for key, path in given.items() if path})))
