"""Where `ygg` keeps things: $YGG_HOME, by default ~/.ygg.

contexts.json     the meshes this user can reach
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
    """The folders of one $YGG_HOME."""

    path: Path

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """The home that the environment names."""
        named = environ.get("YGG_HOME")
        if not named and environ.get("HOME") == "":
            raise _homeless("$HOME is empty")  # Python would take it for the root directory
        try:
            return cls(Path(named or "~/.ygg").expanduser().absolute())
        except RuntimeError:
            raise _homeless(
                f"{named} names none" if named else "$HOME is not set, the user database has none"
            ) from None

    @property
    def contexts(self) -> Path:
        """The list of contexts."""
        return self.path / "contexts.json"

    @property
    def mesh(self) -> Path:
        """Data of the embedded mesh."""
        return self.path / "mesh"

    @property
    def pki(self) -> Path:
        """Its PKI."""
        return self.mesh / "pki"

    def identity(self, kind: str, name: str) -> Path:
        """The identity directory of NAME."""
        return self.mesh / "identities" / kind / name


def _homeless(why: str) -> CliError:
    return CliError(f"there is no home directory: {why}", hint="Say where ygg keeps its data:  export YGG_HOME=DIR")
