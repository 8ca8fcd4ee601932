"""The folders of an embedded mesh. Apart from `plan`, for commands that only look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of an embedded mesh, under `root`."""

    root: Path

    @property
    def logs(self) -> Path:
        """One log a process."""
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
        """An identity directory."""
        return self.root / "identities" / kind / name

    def data(self, service: str) -> Path:
        """What a service may write."""
        return self.root / "data" / service
