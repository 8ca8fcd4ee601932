"""The data directory of `ygg`: $YGG_HOME, by default ~/.ygg.

contexts.json     the known meshes
mesh/             the embedded mesh: pki/ identities/ nats/ logs/ run/
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ygg.exits import CliError


@dataclass(frozen=True, slots=True)
class Home:
    """The paths below one $YGG_HOME."""

    path: Path

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """Return the home that the environment selects. Raises CliError if there is no home directory."""
        named = environ.get("YGG_HOME")
        if not named and environ.get("HOME") == "":
            raise _no_home("$HOME is empty")  # Python would expand it to the root directory
        try:
            return cls(Path(named or "~/.ygg").expanduser().absolute())
        except RuntimeError:
            raise _no_home(
                f"cannot expand {named}" if named else "$HOME is not set, and the user database has no entry"
            ) from None

    @property
    def contexts(self) -> Path:
        """The file of contexts."""
        return self.path / "contexts.json"

    @property
    def mesh(self) -> Path:
        """Directory of the embedded mesh."""
        return self.path / "mesh"

    @property
    def pki(self) -> Path:
        """Directory of its PKI."""
        return self.mesh / "pki"

    def identity(self, kind: str, name: str) -> Path:
        """Return the identity directory of `name`."""
        return self.mesh / "identities" / kind / name


def _no_home(why: str) -> CliError:
    return CliError(f"no home directory: {why}", hint="Set the data directory of ygg:  export YGG_HOME=DIR")
