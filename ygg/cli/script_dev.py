"""`ygg script check|test|repl|logs`: what who writes scripts needs beside running them."""

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
_Lang = Annotated[str, typer.Option("--lang", help="lua or scheme, where the file's name does not tell.")]


def check(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scripts.")],
    *,
    device: Annotated[list[str] | None, typer.Option("--device", "-d", help="Held against its contract.")] = None,
    selector: Annotated[str, typer.Option("--selector", "-l", help="Against those of all these devices.")] = "",
    lang: _Lang = "",
) -> None:
    """Look for faults without running anything: syntax, names, calls that no contract has, quotes, schedules.

    Exit status 1 where there is an error; warnings and notes are told only.

    Example:  `ygg script check alarm.scm -d porch-1`
    """
    from ygg import registered

    st, told, errors = state(ctx), [], 0
    with st.mesh() as mesh:
        for file in files:
            source, language = script_files.read(file), script_files.language(file, lang)
            findings, _ = registered.check(mesh, source, language, device or (), selector)
            errors += sum(finding.severity == "error" for finding in findings)
            for f in findings:
                told.append(
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
        st.out.json(told)
    elif not told:
        st.out.remark("nothing was found", "dim")
    if errors:
        raise typer.Exit(1)


def test(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where the tests are; else here.")] = None,
    *,
    file: Annotated[Path | None, typer.Option("--file", help="One file of tests only.")] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="A real device; else a fake board for each file.")] = "",
) -> None:
    """Run the tests in files NAME_test.lua and NAME_test.scm, on a fake board or on a device.

    Tests call test(NAME, FUNCTION), expect_equal(GOT, WANTED), expect_true, expect_error, board(PATH, VALUE) to set a
    sensor of the fake board, and subject() to run NAME.lua. advance(SECONDS) lets the fake board's time go on: timers
    ring, nothing waits. event, message and published are for handlers. In Scheme: (test NAME BODY ...) and so on.

    Example:  `ygg script test scripts`
    """
    from ygg import registered

    if file is not None and folder is not None:
        raise UsageError("give a folder or --file, not both")
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
        st.out.line(f"  {tests.name}  has no tests", "yellow")


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
    device: Annotated[str, typer.Option("--device", "-d", help="The default device.")] = "",
    lang: Annotated[str, typer.Option("--lang", help="lua or scheme.")] = "lua",
) -> None:
    """Talk to an engine: what is typed is evaluated, what it defines stays. End with Ctrl-D.

    A text may have several lines: the engine asks for more until it is complete. Ctrl-C drops one that is not.

    Example:  `ygg script repl --device porch-1 --lang scheme`
    """
    from ygg import registered
    from ygg.scripts import LANGUAGES

    if lang not in LANGUAGES:
        raise UsageError(f"--lang is {lang!r}", hint="It takes lua or scheme.")
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
    """Whether the engine says of a text, of which it has executed nothing, that it stops in the middle."""
    return fault.endswith(_UNFINISHED[lang])


class _Lines:
    """What is typed. A line that ends with a backslash goes on, as does one that the engine calls incomplete."""

    def __init__(self, st: State, lang: str, device: str) -> None:
        self._asks, self._lang, self.dropped = sys.stdin.isatty() and not st.out.as_json, lang, False
        if self._asks:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 - arrows and history for input()
            st.out.remark(f"{lang}{f' on {device}' if device else ''}; Ctrl-D ends it", "dim")

    def first(self) -> str | None:
        """The beginning of a text; None at the end."""
        self.dropped = False
        text = self._line(f"{self._lang}> ")
        while text is not None and text.endswith("\\"):
            text = text.removesuffix("\\") + "\n" + (self._line("...  ") or "")
        return text

    def more(self) -> str | None:
        """The next line of a text that is not complete; None at the end, or where Ctrl-C has dropped the text."""
        try:
            return self._line("...  ")
        except KeyboardInterrupt:
            if not self._asks:
                raise
            print()
            self.dropped = True
            return None

    def _line(self, prompt: str) -> str | None:
        try:
            return input(prompt if self._asks else "")
        except EOFError:
            return None


def logs(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A script, or a pattern with * and ?; quote it.")] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each line as it comes.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, max=500, help="How many lines of before.")] = 20,
) -> None:
    """Show what runs of registered scripts have logged. The mesh keeps the last lines only.

    Example:  `ygg script logs blink -f`
    """
    from ygg import registered

    st = state(ctx)
    with st.mesh() as mesh:
        lines = registered.logs(mesh, name, last, follow=follow)
        if follow and following.begun(lines):
            following.waiting(st, f"Waiting for what runs of {name or 'every script'} log. Ctrl-C ends it.")
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
    """Adds the commands to `ygg script`."""
    for command in (check, test, repl, logs):
        app.command()(command)
