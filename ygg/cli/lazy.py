"""Command groups that import a command on first use, to keep startup fast.

Owns the loading; `root` maps commands to modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, Literal

import typer
import typer.main
from typer.core import TyperGroup
from typer.models import TyperInfo

MARKUP: Literal["markdown"] = "markdown"


class Commands(MutableMapping[str, Any]):
    """Commands by name, loaded on first lookup. A module defines `app`, or `register(app)` to add its commands."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = dict(modules)
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._modules[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._modules.setdefault(name, "")
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


class LazyGroup(TyperGroup):
    """A typer group of lazily loaded commands; subclasses define `modules`."""

    modules: Mapping[str, str]

    def __init__(self, **attrs: Any) -> None:
        attrs["commands"] = None
        super().__init__(**attrs)
        self.commands = Commands(self.modules)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of `modules`, without loading them."""
        return list(self.commands)


def _load(name: str, module: str) -> Any:
    found = import_module(module)
    if hasattr(found, "app"):
        return _group(found.app, name)
    holder = typer.Typer()
    found.register(holder)
    return _group(holder, "").commands[name]


def _group(app: typer.Typer, name: str) -> TyperGroup:
    info = TyperInfo(app, name=name)
    return typer.main.get_group_from_info(
        info, pretty_exceptions_short=True, suggest_commands=True, rich_markup_mode=MARKUP
    )
