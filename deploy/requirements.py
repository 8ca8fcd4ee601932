"""Print the requirements of a pyproject.toml, one per line, for `pip install -r`.

pyproject.toml stays the only list. An image layer made from this output has
the dependencies only, so that a change of our source does not reinstall them.

    requirements.py PYPROJECT [build | runtime | EXTRA]...
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(pyproject: dict[str, Any], group: str) -> list[str]:
    """Return those of `build` (the back-end), `runtime`, `firmware` (its generators) or one extra. Raises KeyError."""
    if group == "build":
        return list(pyproject["build-system"]["requires"])
    if group == "runtime":
        return list(pyproject["project"]["dependencies"])
    if group == "firmware":
        names = ("nanopb", "grpcio-tools")
        return [one for one in pyproject["project"]["optional-dependencies"]["dev"] if one.startswith(names)]
    return list(pyproject["project"]["optional-dependencies"][group])


def main(path: str, *groups: str) -> None:
    """Print the requirements of all `groups`, in order."""
    pyproject = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    for group in groups:
        print("\n".join(requirements(pyproject, group)))


if __name__ == "__main__":
    main(*sys.argv[1:])
