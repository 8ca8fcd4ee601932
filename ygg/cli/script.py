"""`ygg script run|register|ls|show|rm|new`; the other commands of `ygg script` are in `script_dev`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.domain.ids import member_id
from services.domain.values import INT_MAX
from ygg import script_files, values
from ygg.cli import script_dev
from ygg.cli.script_show import show_line
from ygg.cli.state import State, state
from ygg.exits import CliError, UsageError
from ygg.files import PUBLIC, write_atomic
from ygg.output import safe

if TYPE_CHECKING:
    from ygg.scripts import Line, Outcome

app = typer.Typer(help="Run, check, test and register Lua and Scheme scripts.", no_args_is_help=True)

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
LANGUAGE = {1: "lua", 2: "scheme"}


@app.command()
def run(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE|NAME", help="A .lua or .scm file, or the name of a registered script.")
    ],
    *,
    device: Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="Default device of the script.")] = "",
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Argument of the script; repeatable."),
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.001, max=300, help="Timeout in seconds.")] = 10.0,
    lang: Annotated[str, typer.Option("--lang", metavar="LANG", help="lua or scheme; default: by file suffix.")] = "",
) -> None:
    """Run a script on the mesh.

    Prints its log to standard error and its result to standard output. A registered script runs with its own limits.

    Examples:
    - `ygg script run blink.lua --device porch-1 --arg times=3` # a file
    - `ygg script run blink -d porch-1 --arg times=3` # a registered script
    """
    from ygg import registered
    from ygg.scripts import Run, execute

    st = state(ctx)
    arguments = {name: values.guess(text) for name, text in values.assignments(arg or ()).items()}
    logs: list[Line] = []

    def on_log(line: Line) -> None:
        logs.append(line)
        show_line(st, line)

    if not file.exists() and NAME.fullmatch(str(file)):
        with st.mesh() as mesh:
            outcome = registered.run(mesh, str(file), device, arguments, on_log)
    else:
        language = script_files.language(file, lang)
        request = Run(script_files.read(file), language, file.name, device, arguments, timeout_s)
        with st.mesh() as mesh:
            outcome = execute(mesh, request, on_log)
    _show(st, outcome, logs, file)


@app.command()
def register(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Script file; its leading comments declare parameters and results.")
    ],
    *,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Script name; default: the file name.")] = "",
    revision: Annotated[
        int,
        typer.Option(
            "--revision", min=0, max=INT_MAX, show_default=False, help="Fail unless the script has this revision."
        ),
    ] = 0,
    create: Annotated[bool, typer.Option("--create", help="Fail if the script exists.")] = False,
    lang: Annotated[str, typer.Option("--lang", metavar="LANG", help="lua or scheme; default: by file suffix.")] = "",
) -> None:
    """Register a script under a name and as a typed RPC.

    Leading comments hold a description, then lines `@param NAME TYPE TEXT`, `@result NAME TYPE TEXT` and
    `@requires REQUIREMENT`. Types: bool, int, double, string, bytes, any; append ? for an optional field.

    Examples:
    - `ygg script register blink.lua`
    - `ygg script run blink -d porch-1 --arg times=3` # run it
    """
    from ygg import registered

    st, source = state(ctx), script_files.read(file)
    language, declared = script_files.language(file, lang), script_files.header(source)
    name = member_id(name or file.stem)
    with st.mesh() as mesh:
        script = registered.register(mesh, name, source, language, declared, revision=revision, create_only=create)
    if st.out.as_json:
        st.out.json({"name": script.name, "revision": script.revision, "method": script.method})
        return
    required = "".join(f" --arg {one.name}=VALUE" for one in script.parameters if not one.optional)
    st.out.line(f"registered {script.name}, revision {script.revision}")
    st.out.line(f"Run it:  ygg script run {script.name} --device DEVICE{required}")
    st.out.remark(f"RPC:  {script.method}", "dim")


@app.command()
def ls(
    ctx: typer.Context,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Name pattern with * and ?; quote it.")] = "",
) -> None:
    """List registered scripts.

    Example:
    - `ygg script ls 'porch_*'`
    """
    from ygg import registered

    st = state(ctx)
    with st.mesh() as mesh:
        found = registered.listed(mesh, pattern)
    rows = [(s.name, LANGUAGE[s.language], str(s.revision), safe(s.description.partition("\n")[0], 60)) for s in found]
    if st.out.as_json:
        st.out.json([dict(zip(("name", "language", "revision", "description"), row, strict=True)) for row in rows])
        return
    if not rows:
        st.out.remark("no scripts registered" if not pattern else f"no scripts match {pattern}", "dim")
        return
    st.out.table(("SCRIPT", "LANGUAGE", "REVISION", "DESCRIPTION"), rows, optional=("LANGUAGE", "REVISION"))


@app.command()
def show(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="Script name.")]) -> None:
    """Print the source of a registered script.

    Example:
    - `ygg script show blink > blink.lua`
    """
    from ygg import registered

    st = state(ctx)
    with st.mesh() as mesh:
        found = registered.fetched(mesh, name)
    if st.out.as_json:
        st.out.json({"name": found.name, "revision": found.revision, "author": found.author, "source": found.source})
        return
    typer.echo(found.source, nl=not found.source.endswith("\n"))


@app.command()
def rm(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Script name.")],
    *,
    revision: Annotated[
        int,
        typer.Option(
            "--revision", min=0, max=INT_MAX, show_default=False, help="Fail unless the script has this revision."
        ),
    ] = 0,
) -> None:
    """Delete a registered script and its RPC.

    Example:
    - `ygg script rm blink`
    """
    from ygg import registered

    st = state(ctx)
    with st.mesh() as mesh:
        registered.remove(mesh, name, revision)
    if st.out.as_json:
        st.out.json({"name": name, "removed": True})
        return
    st.out.line(f"{name} deleted")


@app.command()
def new(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Script name or file name, such as porch_alarm or porch_alarm.scm.")
    ],
    *,
    lang: Annotated[
        str, typer.Option("--lang", metavar="LANG", help="lua or scheme; default: by file suffix, else lua.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Create a script from a runnable template.

    Examples:
    - `ygg script new porch_alarm --lang scheme`
    - `ygg script run porch_alarm.scm --device porch-1` # run it
    """
    from ygg.templates import TEMPLATES

    name, of_file = _split(name)
    member_id(name)
    lang = lang or of_file or "lua"
    if lang not in TEMPLATES:
        raise UsageError(f"invalid --lang {lang!r}; pass lua or scheme")
    suffix, text = TEMPLATES[lang]
    if of_file and of_file != lang:
        raise UsageError(f"--lang {lang} does not match the file suffix", hint=f"Use the name {name}{suffix}.")
    path = Path(f"{name}{suffix}")
    if path.exists() and not force:
        raise CliError(f"{path} already exists", hint="Pass --force to overwrite it.")
    write_atomic(path.absolute(), text.replace("NAME", name).encode(), PUBLIC)
    st = state(ctx)
    if st.out.as_json:
        st.out.json({"file": str(path), "language": lang})
        return
    st.out.line(f"created {path}; run it:  ygg script run {path} --device DEVICE")


def _split(name: str) -> tuple[str, str]:
    """Split `hello.lua` into name and language; the language is "" without a known suffix."""
    stem, dot, suffix = name.rpartition(".")
    language = script_files.SUFFIXES.get(dot + suffix.lower(), "")
    return (stem, language) if language else (name, "")


def _show(st: State, outcome: Outcome, logs: list[Line], file: Path) -> None:
    if st.out.as_json:
        st.out.json(
            {
                "value": values.to_json(outcome.value),
                "duration_ms": round(outcome.duration_ms, 3),
                "host_calls": outcome.host_calls,
                "dropped": list(outcome.dropped),
                "logs": [{"time": line.time, "level": line.level, "message": line.message} for line in logs],
            }
        )
        return
    if outcome.value is not None:
        st.out.line(values.show(outcome.value))
    calls = f"{outcome.host_calls} call{'' if outcome.host_calls == 1 else 's'}"
    st.out.remark(f"ok   {outcome.duration_ms:.0f} ms   {calls}", "dim")
    if outcome.dropped:
        st.out.remark(f"dropped at the end of the script: {', '.join(outcome.dropped)}", "yellow")
        st.out.remark(f"To keep them, deploy it as a program:  ygg program deploy {file} -d DEVICE", "dim")


script_dev.register(app)
