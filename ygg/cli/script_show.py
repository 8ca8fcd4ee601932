"""How a script's log is shown: on standard error, so that standard output holds results only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ygg.cli.state import State
from ygg.output import safe

if TYPE_CHECKING:
    from ygg.scripts import Line

_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}


def show_line(st: State, line: Line) -> None:
    """A line of a log; nothing where the output is JSON, which has it with the result."""
    if not st.out.as_json:
        st.out.remark(safe(line.message, 4000), _STYLES.get(line.level, ""))
