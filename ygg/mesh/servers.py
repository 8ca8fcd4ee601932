"""Where the bundled servers are: in this virtual environment, or on PATH."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from ygg.exits import CliError


def find(program: str) -> Path | None:
    """The program beside this Python (a wheel put it there), else on PATH; None where it is nowhere."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / program).is_file():
            return folder / program
    found = shutil.which(program)
    return Path(found) if found else None


def find_nats_server() -> str:
    """The path of nats-server. Raises CliError that says how to get it."""
    found = find("nats-server")
    if found is None:
        raise CliError("nats-server is not installed", hint="Get it:  pip install 'yggdrasil-mesh[servers]'")
    return str(found)
