"""`ygg script`: run Lua and Scheme on the mesh, and begin a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.domain.ids import member_id
from ygg import values
from ygg.cli.state import State, state
from ygg.exits import CliError, UsageError
from ygg.files import PUBLIC, write_atomic
from ygg.output import safe

if TYPE_CHECKING:
    from ygg.scripts import Line, Outcome

app = typer.Typer(help="Scripts in Lua or Scheme: run one now, begin a new one.", no_args_is_help=True)

_SUFFIXES = {".lua": "lua", ".scm": "scheme", ".ss": "scheme", ".scheme": "scheme"}
_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}
_MAX_SOURCE_BYTES = 256 * 1024


@app.command()
def run(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The script; .lua is Lua, .scm is Scheme.")],
    *,
    device: Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="The script's default device.")] = "",
    arg: Annotated[list[str] | None, typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Goes into args.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.001, max=300, help="Longest run, in seconds.")] = 10.0,
    lang: Annotated[str, typer.Option("--lang", help="lua or scheme, where the file's name does not tell.")] = "",
) -> None:
    """Run a script on the mesh: its log as it comes, then its result.

    The log goes to standard error and the result to standard output.

    Examples:  `ygg script run blink.lua --device porch-1 --arg times=3`   `ygg script run alarm.scm -d porch-2`
    """
    from ygg.scripts import Run, execute

    st = state(ctx)
    language = _language(file, lang)
    arguments = {name: values.guess(text) for name, text in values.assignments(arg or ()).items()}
    wanted = Run(_source(file), language, file.name, device, arguments, timeout_s)
    logs: list[Line] = []

    def on_log(line: Line) -> None:
        logs.append(line)
        if not st.out.as_json:
            st.out.remark(safe(line.message, 4000), _STYLES.get(line.level, ""))

    with st.mesh() as mesh:
        outcome = execute(mesh, wanted, on_log)
    _show(st, outcome, logs)


@app.command()
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, such as porch_alarm.")],
    *,
    lang: Annotated[str, typer.Option("--lang", help="lua or scheme.")] = "lua",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a script that runs as it stands, to begin from.

    Example:  `ygg script new porch_alarm --lang scheme`   then   `ygg script run porch_alarm.scm --device porch-1`
    """
    from ygg.templates import TEMPLATES

    member_id(name)
    if lang not in TEMPLATES:
        raise UsageError(f"--lang is {lang!r}", hint="It takes lua or scheme.")
    suffix, text = TEMPLATES[lang]
    path = Path(f"{name}{suffix}")
    if path.exists() and not force:
        raise CliError(f"{path} exists; it was left alone", hint="--force replaces it.")
    write_atomic(path.absolute(), text.replace("NAME", name).encode(), PUBLIC)
    st = state(ctx)
    if st.out.as_json:
        st.out.json({"file": str(path), "language": lang})
        return
    st.out.line(f"wrote {path}; run it:  ygg script run {path} --device DEVICE")


def _show(st: State, outcome: Outcome, logs: list[Line]) -> None:
    if st.out.as_json:
        st.out.json(
            {
                "value": values.to_json(outcome.value),
                "duration_ms": round(outcome.duration_ms, 3),
                "host_calls": outcome.host_calls,
                "logs": [{"time": line.time, "level": line.level, "message": line.message} for line in logs],
            }
        )
        return
    if outcome.value is not None:
        st.out.line(values.show(outcome.value))
    calls = f"{outcome.host_calls} call{'' if outcome.host_calls == 1 else 's'}"
    st.out.remark(f"ok   {outcome.duration_ms:.0f} ms   {calls}", "dim")


def _source(file: Path) -> str:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}") from None
    except IsADirectoryError:
        raise UsageError(f"{file} is a folder") from None
    if len(data) > _MAX_SOURCE_BYTES:
        raise UsageError(f"{file} has {len(data)} bytes; a script has at most {_MAX_SOURCE_BYTES}")
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise UsageError(f"{file} is not UTF-8 text (byte {e.start})") from e


def _language(file: Path, lang: str) -> str:
    found = lang or _SUFFIXES.get(file.suffix.lower(), "")
    if found not in ("lua", "scheme"):
        raise UsageError(f"the language of {file} is not known", hint="Name it .lua or .scm, or give --lang.")
    return found
