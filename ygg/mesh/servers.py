"""Locate bundled server programs in this virtual environment or on PATH."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from ygg.exits import CliError


def find(program: str) -> Path | None:
    """Return the program installed beside this Python (by a wheel), else the one on PATH; None if not found."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / program).is_file():
            return folder / program
    found = shutil.which(program)
    return Path(found) if found else None


def find_nats_server() -> str:
    """Return the path of nats-server. Raises CliError with an installation hint."""
    found = find("nats-server")
    if found is None:
        raise CliError("nats-server not found", hint="Install it:  pip install 'yggdrasil-mesh[servers]'")
    return str(found)
