"""The root command: global options, and the module of each subcommand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer
import typer.main

from ygg.cli.lazy import MARKUP, LazyGroup
from ygg.cli.state import State
from ygg.exit_codes import MEANINGS
from ygg.home import Home
from ygg.output import Output

EPILOG = "Exit codes:  " + " · ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items())


class Root(LazyGroup):
    """The subcommands of `ygg` and their modules, in help order."""

    modules: Mapping[str, str] = {
        "up": "ygg.cli.mesh",
        "down": "ygg.cli.mesh",
        "status": "ygg.cli.status",
        "device": "ygg.cli.device",
        "twin": "ygg.cli.twin",
        "group": "ygg.cli.group",
        "script": "ygg.cli.script",
        "program": "ygg.cli.program",
        "ota": "ygg.cli.ota",
        "pki": "ygg.cli.pki",
        "context": "ygg.cli.context",
        "backup": "ygg.cli.backup",
        "restore": "ygg.cli.backup",
        "creds": "ygg.cli.creds",
        "grpcurl": "ygg.cli.creds",
        "doctor": "ygg.cli.doctor",
        "demo": "ygg.cli.demo",
    }


app = typer.Typer(
    name="ygg",
    cls=Root,
    help="Manage a mesh of devices.\n\n"
    "Examples:\n"
    "- `ygg up -d`\n- `ygg status`\n- `ygg device ls`\n- `ygg device read porch-1 temp0.celsius`",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
        from services.chassis.version import package_version

        print(package_version())
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    context_name: Annotated[
        str, typer.Option("--context", envvar="YGG_CONTEXT", metavar="NAME", help="Mesh to use; see `ygg context ls`.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Handle the global options, which may appear anywhere on the command line."""
    ctx.obj = State(Home.find(), Output(as_json=as_json), context_name)
    if any(name.startswith("YGG_") for name in os.environ):
        from ygg.environment import faults

        for fault in faults(os.environ):
            ctx.obj.out.remark(fault, "yellow")


def command() -> Any:
    """Return the command tree; a subcommand is imported on lookup."""
    return typer.main.get_command(app)
