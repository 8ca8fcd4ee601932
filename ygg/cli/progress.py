"""A progress bar on standard error, shown on a terminal only."""

from __future__ import annotations

from types import TracebackType

from ygg.output import Output


class Counter:
    """Progress towards a total, which may change; `None` if unknown."""

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
        """Advance by `count`."""
        self._progress.advance(self._task, count)

    def at(self, done: int, total: int) -> None:
        """Set the progress to `done` of `total`."""
        self._progress.update(self._task, completed=done, total=max(done, total))
