"""`ygg demo`, run by `make demo`. Hidden, since it needs the agent and the examples of a checkout."""

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
    keep: Annotated[bool, typer.Option("--keep", help="Keep the mesh running as context `demo`.")] = False,
    agent: Annotated[Path | None, typer.Option(help="Path of the posix agent.")] = None,
    examples: Annotated[Path | None, typer.Option(help="Directory of blink.lua and alarm.scm.")] = None,
    figures: Annotated[Path | None, typer.Option(help="File to write measurements to.")] = None,
) -> int:
    """Run an end-to-end demo on a temporary mesh."""
    from ygg.demo.show import Options, run

    given = {"agent": agent, "examples": examples, "figures": figures}
    return int(run(state(ctx).out, Options(keep=keep, **{key: path for key, path in given.items() if path})))
