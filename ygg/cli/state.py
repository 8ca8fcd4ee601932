"""State shared by all commands: home, context and output format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from ygg.contexts import Context, Contexts
from ygg.home import Home
from ygg.output import Output

if TYPE_CHECKING:
    from ygg.client import Mesh


@dataclass(frozen=True, slots=True)
class State:
    """Created by the root command from the global options."""

    home: Home
    out: Output
    context_name: str = ""

    def context(self) -> tuple[str, Context]:
        """Return name and context: the requested one, else the current one."""
        return Contexts(self.home).get(self.context_name)

    def mesh(self) -> Mesh:
        """Return a client of that mesh; close it, or use it as a context manager."""
        from ygg.client import Mesh

        return Mesh(*self.context())


def state(ctx: typer.Context) -> State:
    """Return the state of the running command."""
    found = ctx.obj
    if not isinstance(found, State):
        raise TypeError("the root command has not run")
    return found
