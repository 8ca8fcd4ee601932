"""The directories of an embedded mesh. Separate from `plan`, to keep imports of read-only commands small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of an embedded mesh, under `root`."""

    root: Path

    @property
    def logs(self) -> Path:
        """Logs, one per process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Lock and state of the running mesh."""
        return self.root / "run"

    @property
    def nats(self) -> Path:
        """Configuration and store of nats-server."""
        return self.root / "nats"

    def identity(self, kind: str, name: str) -> Path:
        """Return an identity directory."""
        return self.root / "identities" / kind / name

    def data(self, service: str) -> Path:
        """Return the data directory of a service."""
        return self.root / "data" / service
