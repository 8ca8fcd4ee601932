"""The reference page of the command line, from the command itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docs.site.markdown import prose, table
from ygg.cli.root import command


def page() -> str:
    """Return the Markdown of every command of `ygg`, below a heading of the first level."""
    return "\n".join(_command(command(), "ygg", 2))


def _command(one: Any, name: str, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}\n"
    for paragraph in re.split(r"\n\s*\n", one.help or ""):
        if re.match(r"\s*Examples?:", paragraph):
            yield f"```sh\n{_examples(paragraph)}\n```\n"
        else:
            yield f"{prose(paragraph)}\n"
    shown = [p for p in one.params if not getattr(p, "hidden", False)]
    yield table(("argument or option", "default", "meaning"), [_parameter(p) for p in shown])
    for inner, child in getattr(one, "commands", {}).items():
        if not getattr(child, "hidden", False):
            yield from _command(child, f"{name} {inner}", min(level + 1, 4))


def _examples(paragraph: str) -> str:
    found = re.findall(r"`([^`]+)`(?: # (.+))?", paragraph)
    return "\n".join(" ".join(code.split()) + (f"   # {note}" if note else "") for code, note in found)


def _parameter(one: Any) -> tuple[str, str, str]:
    option = one.opts[0].startswith("-")
    names = ", ".join(f"`{opt}`" for opt in (*one.opts, *one.secondary_opts)) if option else ""
    value = one.metavar or one.name.upper()
    label = f"{names} `{value}`" if option and one.metavar else names or f"`{value}`"
    shown = one.default not in (None, "", False, (), []) and not callable(one.default)
    default = f"`{getattr(one.default, 'value', one.default)}`" if shown else "required" * bool(one.required)
    return label, default, prose(one.help or "")
