"""The root command: global options, and the nouns below it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.main

from ygg.cli import backup, context, creds, demo, device, doctor, group, mesh, ota, pki, program, script, status, twin
from ygg.cli.state import State
from ygg.home import Home
from ygg.output import Output

EPILOG = (
    "Exit codes:  0 ok · 1 the operation failed · 2 wrong usage · 3 not reachable · 4 not found · "
    "5 refused by the device's contract · 6 not allowed · 7 out of time · 130 interrupted"
)

app = typer.Typer(
    name="ygg",
    help="Drive a mesh of devices: see them, call them, run scripts on them.\n\n"
    "First steps:  `ygg up -d`   `ygg status`   `ygg device ls`   `ygg device call porch-1 led0.blink times=3`",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from services.chassis.run import package_version

        print(package_version())
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    context_name: Annotated[
        str, typer.Option("--context", envvar="YGG_CONTEXT", metavar="NAME", help="Which mesh; see `ygg context ls`.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON, for programs.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the global options; they may stand anywhere on the line."""
    ctx.obj = State(Home.find(), Output(as_json=as_json), context_name)


mesh.register(app)
status.register(app)
app.add_typer(device.app, name="device")
app.add_typer(twin.app, name="twin")
app.add_typer(group.app, name="group")
app.add_typer(script.app, name="script")
app.add_typer(program.app, name="program")
app.add_typer(ota.app, name="ota")
app.add_typer(pki.app, name="pki")
app.add_typer(context.app, name="context")
backup.register(app)
creds.register(app)
doctor.register(app)
demo.register(app)


def command() -> Any:
    """The whole command tree, ready to run."""
    return typer.main.get_command(app)
