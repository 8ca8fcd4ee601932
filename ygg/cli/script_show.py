"""Print the log of a script to standard error, since standard output holds results only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ygg.cli.state import State
from ygg.output import safe

if TYPE_CHECKING:
    from ygg.scripts import Line

_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}


def show_line(st: State, line: Line) -> None:
    """Print a log line, except in JSON mode, where the result includes the log."""
    if not st.out.as_json:
        st.out.remark(safe(line.message, 4000), _STYLES.get(line.level, ""))
