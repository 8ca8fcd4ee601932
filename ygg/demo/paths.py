"""Paths and device names of the demo, shared by its two processes."""

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
    """The files of one demo, under its own directory `root`."""

    root: Path

    @property
    def layout(self) -> Layout:
        """Layout of the mesh."""
        return Layout(self.root / "mesh")

    @property
    def policy(self) -> Path:
        """The policy file."""
        return self.root / "policy.json"

    def control(self, device: str) -> Path:
        """Return the control socket of a device's agent."""
        return self.root / f"{device}.sock"
