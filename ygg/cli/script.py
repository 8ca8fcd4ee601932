"""`ygg script`: run Lua and Scheme on the mesh, begin a new one, keep them under names."""

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

app = typer.Typer(help="Scripts in Lua or Scheme: run, check, test, and keep them under names.", no_args_is_help=True)

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
LANGUAGE = {1: "lua", 2: "scheme"}


@app.command()
def run(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE|NAME", help="A file (.lua, .scm), or a registered script.")],
    *,
    device: Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="The script's default device.")] = "",
    arg: Annotated[list[str] | None, typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Goes into args.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.001, max=300, help="Longest run, in seconds.")] = 10.0,
    lang: Annotated[str, typer.Option("--lang", help="lua or scheme, where the file's name does not tell.")] = "",
) -> None:
    """Run a script on the mesh: its log as it comes, then its result.

    The log goes to standard error and the result to standard output. A registered script has the limits it was
    registered with.

    Examples:  `ygg script run blink.lua --device porch-1 --arg times=3`
    `ygg script run blink -d porch-1 --arg times=3`
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
        wanted = Run(script_files.read(file), language, file.name, device, arguments, timeout_s)
        with st.mesh() as mesh:
            outcome = execute(mesh, wanted, on_log)
    _show(st, outcome, logs, file)


@app.command()
def register(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The script; its first comments say what it takes and returns.")],
    *,
    name: Annotated[str, typer.Option("--name", help="Its name; else that of the file.")] = "",
    revision: Annotated[int, typer.Option("--revision", min=0, max=INT_MAX, help="Only on top of this revision.")] = 0,
    create: Annotated[bool, typer.Option("--create", help="Only where there is no script of that name.")] = False,
    lang: Annotated[str, typer.Option("--lang", help="lua or scheme, where the file's name does not tell.")] = "",
) -> None:
    """Keep a script on the mesh under a name. From then on it is an RPC of its own.

    Its first comments say what it is: a description, then lines `@param NAME TYPE TEXT`, `@result NAME TYPE TEXT` and
    `@requires REQUIREMENT`. Types: bool, int, double, string, bytes, any; with a ? behind it may be left out.

    Example:  `ygg script register blink.lua`   then   `ygg script run blink -d porch-1 --arg times=3`
    """
    from ygg import registered

    st, source = state(ctx), script_files.read(file)
    language, declared = script_files.language(file, lang), script_files.header(source)
    called = member_id(name or file.stem)
    with st.mesh() as mesh:
        kept = registered.register(mesh, called, source, language, declared, revision=revision, create_only=create)
    if st.out.as_json:
        st.out.json({"name": kept.name, "revision": kept.revision, "method": kept.method})
        return
    needed = "".join(f" --arg {one.name}=VALUE" for one in kept.parameters if not one.optional)
    st.out.line(f"{kept.name} is registered, revision {kept.revision}")
    st.out.line(f"run it:  ygg script run {kept.name} --device DEVICE{needed}")
    st.out.remark(f"as an RPC:  {kept.method}", "dim")


@app.command()
def ls(
    ctx: typer.Context,
    pattern: Annotated[str, typer.Argument(help="A name, with * and ?; quote it.")] = "",
) -> None:
    """List registered scripts.

    Example:  `ygg script ls 'porch_*'`
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
        st.out.remark("no scripts are registered" if not pattern else f"no script matches {pattern}", "dim")
        return
    st.out.table(("SCRIPT", "LANGUAGE", "REVISION", "WHAT IT DOES"), rows, optional=("LANGUAGE", "REVISION"))


@app.command()
def show(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Print a registered script as it was registered.

    Example:  `ygg script show blink > blink.lua`
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
    name: Annotated[str, typer.Argument(help="Its name.")],
    *,
    revision: Annotated[int, typer.Option("--revision", min=0, max=INT_MAX, help="Only this revision.")] = 0,
) -> None:
    """Forget a registered script, and with it its RPC.

    Example:  `ygg script rm blink`
    """
    from ygg import registered

    st = state(ctx)
    with st.mesh() as mesh:
        registered.remove(mesh, name, revision)
    if st.out.as_json:
        st.out.json({"name": name, "removed": True})
        return
    st.out.line(f"{name} is forgotten")


@app.command()
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, such as porch_alarm, or its file, such as porch_alarm.scm.")],
    *,
    lang: Annotated[str, typer.Option("--lang", help="lua or scheme; that of the file, else lua.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a script that runs as it stands, to begin from.

    Example:  `ygg script new porch_alarm --lang scheme`   then   `ygg script run porch_alarm.scm --device porch-1`
    """
    from ygg.templates import TEMPLATES

    name, of_file = _split(name)
    member_id(name)
    lang = lang or of_file or "lua"
    if lang not in TEMPLATES:
        raise UsageError(f"--lang is {lang!r}", hint="It takes lua or scheme.")
    suffix, text = TEMPLATES[lang]
    if of_file and of_file != lang:
        raise UsageError(f"{name} is to be {lang}, but its file another language", hint=f"Name it {name}{suffix}.")
    path = Path(f"{name}{suffix}")
    if path.exists() and not force:
        raise CliError(f"{path} exists; it was left alone", hint="--force replaces it.")
    write_atomic(path.absolute(), text.replace("NAME", name).encode(), PUBLIC)
    st = state(ctx)
    if st.out.as_json:
        st.out.json({"file": str(path), "language": lang})
        return
    st.out.line(f"wrote {path}; run it:  ygg script run {path} --device DEVICE")


def _split(name: str) -> tuple[str, str]:
    """Name and language of what may be a file: `hello.lua` is hello, in Lua."""
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
        st.out.remark(f"dropped at its end: {', '.join(outcome.dropped)}", "yellow")
        st.out.remark(f"A program keeps them:  ygg program deploy {file} -d DEVICE", "dim")


script_dev.register(app)
