"""`ygg script check|test|repl|logs`: tools for script authors."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ygg import script_files, values
from ygg.cli import following
from ygg.cli.script_show import show_line
from ygg.cli.state import State, state
from ygg.exits import UsageError
from ygg.output import safe

if TYPE_CHECKING:
    from yggdrasil.loki.v1 import script_pb2 as pb

_MARKS = {"error": "red", "warning": "yellow", "note": "dim"}
_Lang = Annotated[str, typer.Option("--lang", metavar="LANG", help="lua or scheme; default: by file suffix.")]


def check(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Script files.")],
    *,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", "-d", metavar="DEVICE", help="Check against this device's contract; repeatable."),
    ] = None,
    selector: Annotated[
        str,
        typer.Option(
            "--selector", "-l", metavar="SELECTOR", help="Check against the contracts of all matching devices."
        ),
    ] = "",
    lang: _Lang = "",
) -> None:
    """Check scripts without running them.

    Reports errors in syntax, names, calls outside the contracts, quoting and cron schedules.

    Exit code 1 if there is an error; warnings and notes do not count.

    Example:
    - `ygg script check alarm.scm -d porch-1`
    """
    from ygg import registered

    st, shown, errors = state(ctx), [], 0
    with st.mesh() as mesh:
        for file in files:
            source, language = script_files.read(file), script_files.language(file, lang)
            findings, _ = registered.check(mesh, source, language, device or (), selector)
            errors += sum(finding.severity == "error" for finding in findings)
            for f in findings:
                shown.append(
                    {
                        "file": str(file),
                        "line": f.line,
                        "column": f.column,
                        "severity": f.severity,
                        "rule": f.rule,
                        "message": f.message,
                    }
                )
                where = f"{f.line}:{f.column}" if len(files) == 1 else f"{file}:{f.line}:{f.column}"
                if not st.out.as_json:
                    st.out.line(f"  {where:<7} {f.message}", _MARKS[f.severity])
    if st.out.as_json:
        st.out.json(shown)
    elif not shown:
        st.out.remark("no problems found", "dim")
    if errors:
        raise typer.Exit(1)


def test(
    ctx: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Directory of tests; default: the working directory.")
    ] = None,
    *,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Run only this test file.")] = None,
    device: Annotated[
        str,
        typer.Option("--device", "-d", metavar="DEVICE", help="Run on this device; default: a fake board per file."),
    ] = "",
) -> None:
    """Run the tests in files NAME_test.lua and NAME_test.scm.

    Functions for tests: test(NAME, FUNCTION), expect_equal(ACTUAL, EXPECTED), expect_true, expect_error,
    board(PATH, VALUE) to set a sensor of the fake board, and subject() to run NAME.lua. advance(SECONDS) advances the
    fake clock and fires timers without waiting. event, message and published test handlers. In Scheme:
    (test NAME BODY ...) and so on.

    Example:
    - `ygg script test scripts`
    """
    from ygg import registered

    if file is not None and folder is not None:
        raise UsageError("pass either a directory or --file")
    st, results = state(ctx), []
    with st.mesh() as mesh:
        for tests in [file] if file is not None else script_files.find_tests(folder or Path()):
            source, language = script_files.read(tests), script_files.language(tests, "")
            subject = script_files.subject_of(tests)
            answer = registered.test(mesh, source, language, subject=subject, device=device, name=tests.name)
            results += [(tests, result) for result in answer.results]
            if not st.out.as_json:
                _show_report(st, tests, answer)
    _finish(st, results)


def _show_report(st: State, tests: Path, answer: pb.TestScriptResponse) -> None:
    for result in answer.results:
        if result.passed:
            st.out.line(f"  ✓ {tests.name}  {safe(result.name, 100)}", "green")
            continue
        where = f"{tests}:{result.line}" if result.line else str(tests)
        st.out.line(f"  ✗ {tests.name}  {safe(result.name, 100)}", "red")
        st.out.line(f"    {where}  {safe(result.message, 1000)}")
    if not answer.results:
        st.out.line(f"  {tests.name}  no tests", "yellow")


def _finish(st: State, results: list[tuple[Path, pb.TestResult]]) -> None:
    passed = sum(result.passed for _, result in results)
    failed = len(results) - passed
    if st.out.as_json:
        listed = [
            {"file": str(tests), "name": r.name, "passed": r.passed, "message": r.message, "line": r.line}
            for tests, r in results
        ]
        st.out.json({"total": len(results), "passed": passed, "failed": failed, "results": listed})
    else:
        st.out.line(f"{len(results)} total, {passed} passed, {failed} failed", "red" if failed else "")
    if failed or not results:
        raise typer.Exit(1)


def repl(
    ctx: typer.Context,
    *,
    device: Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="Default device.")] = "",
    lang: Annotated[str, typer.Option("--lang", metavar="LANG", help="lua or scheme.")] = "lua",
) -> None:
    """Start an interactive session; exit with Ctrl-D.

    Definitions persist between inputs. An incomplete input continues on the next line; Ctrl-C discards it.

    Example:
    - `ygg script repl --device porch-1 --lang scheme`
    """
    from ygg import registered
    from ygg.scripts import LANGUAGES

    if lang not in LANGUAGES:
        raise UsageError(f"invalid --lang {lang!r}; pass lua or scheme")
    st = state(ctx)
    lines = _Lines(st, lang, device)
    with st.mesh() as mesh, contextlib.closing(registered.Conversation(mesh, lang, device)) as conversation:
        while (text := lines.first()) is not None:
            if not text.strip():
                continue
            value, fault = conversation.evaluate(text, lambda line: show_line(st, line))
            while fault and _incomplete(lang, fault) and (more := lines.more()) is not None:
                text = f"{text}\n{more}"
                value, fault = conversation.evaluate(text, lambda line: show_line(st, line))
            if lines.dropped:
                continue
            if st.out.as_json:
                st.out.record({"value": values.to_json(value), "error": fault or None})
            elif fault:
                st.out.line(safe(fault, 2000), "red")
            elif value is not None:
                st.out.line(values.show(value))


_UNFINISHED = {
    "lua": ("near <eof>", "near '<eof>'"),
    "scheme": ("is never closed", "has no end", "has no |#", "something is still to come"),
}


def _incomplete(lang: str, fault: str) -> bool:
    """Return whether the error of the engine means that the source is incomplete; none of it was executed."""
    return fault.endswith(_UNFINISHED[lang])


class _Lines:
    """Reads input. A line that ends with a backslash continues, as does a source that the engine calls incomplete."""

    def __init__(self, st: State, lang: str, device: str) -> None:
        self._interactive, self._lang, self.dropped = sys.stdin.isatty() and not st.out.as_json, lang, False
        if self._interactive:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 - arrows and history for input()
            st.out.remark(f"{lang}{f' on {device}' if device else ''}; press Ctrl-D to exit", "dim")

    def first(self) -> str | None:
        """Return the first line of an input; None at end of file."""
        self.dropped = False
        text = self._line(f"{self._lang}> ")
        while text is not None and text.endswith("\\"):
            text = text.removesuffix("\\") + "\n" + (self._line("...  ") or "")
        return text

    def more(self) -> str | None:
        """Return the next line of an incomplete input; None at end of file or if Ctrl-C discarded the input."""
        try:
            return self._line("...  ")
        except KeyboardInterrupt:
            if not self._interactive:
                raise
            print()
            self.dropped = True
            return None

    def _line(self, prompt: str) -> str | None:
        try:
            return input(prompt if self._interactive else "")
        except EOFError:
            return None


def logs(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PATTERN", help="Script name or pattern with * and ?; quote it.")] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow new lines until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, max=500, help="Number of past lines.")] = 20,
) -> None:
    """Show recent log lines of registered scripts.

    The mesh keeps only the most recent lines.

    Example:
    - `ygg script logs blink -f`
    """
    from ygg import registered

    st = state(ctx)
    with st.mesh() as mesh:
        lines = registered.logs(mesh, name, last, follow=follow)
        if follow and following.started(lines):
            following.notice(st, f"Following the log of {name or 'all scripts'}. Press Ctrl-C to stop.")
        for line in mesh.stream("loki", lines):
            entry = line.log
            if st.out.as_json:
                st.out.record(
                    {
                        "script": line.name,
                        "run": line.run_id,
                        "device": line.device_id,
                        "time": entry.time.ToJsonString(),
                        "message": entry.message,
                    }
                )
            else:
                stamp = entry.time.ToDatetime().strftime("%H:%M:%S")
                st.out.line(f"{stamp}  {line.name}  {line.device_id or '-'}  {safe(entry.message, 4000)}")


def register(app: typer.Typer) -> None:
    """Add the commands to `ygg script`."""
    for command in (check, test, repl, logs):
        app.command()(command)
