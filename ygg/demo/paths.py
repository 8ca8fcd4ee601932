"""Where the demo keeps things, and the names of its devices. Used by both of its processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ygg.mesh.bootstrap import DEMO_DEVICES
from ygg.mesh.layout import Layout

DEVICES = DEMO_DEVICES
CONTEXT = "demo"
POLICY = {"name": "demo", "deny": ["actuator.siren"]}


@dataclass(frozen=True, slots=True)
class DemoPaths:
    """One demo under `root`, a folder of its own."""

    root: Path

    @property
    def layout(self) -> Layout:
        """The mesh."""
        return Layout(self.root / "mesh")

    @property
    def policy(self) -> Path:
        """What devices may not offer."""
        return self.root / "policy.json"

    def control(self, device: str) -> Path:
        """The socket by which the agent's own board can be asked."""
        return self.root / f"{device}.sock"
