"""A progress bar on standard error, for a person at a terminal; nothing for programs."""

from __future__ import annotations

from types import TracebackType

from ygg.output import Output


class Counter:
    """Counts up to a total, which may change on the way; `None` where it is not known."""

    def __init__(self, out: Output, what: str, total: int | None = None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        quiet = out.as_json or not out.remarks.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=out.remarks, transient=True, disable=quiet)
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> Counter:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def add(self, count: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, count)

    def at(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self._progress.update(self._task, completed=done, total=max(done, total))
