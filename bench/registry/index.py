"""rebuild_rate, warm_restart_s and sizes: the registry started without its index, and with it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field

from bench.harness.compare import alone
from bench.harness.machine import rounds
from bench.harness.mesh import Mesh
from bench.harness.process import Child
from bench.harness.results import Metric

REBUILD_S = 600.0
"""Longer than a rebuild takes."""


@dataclass(slots=True)
class Figures:
    """Of each round."""

    rebuild: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    file: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def start(mesh: Mesh) -> Child:
    """The registry, with the index where it was."""
    return mesh.start_service("registry", REBUILD_S, data_dir=str(mesh.folder / "registry"))


def measure(mesh: Mesh, count: int, empty_kb: int) -> list[Metric]:
    """Leaves the registry running, its index warm. `empty_kb` is what a registry without devices takes."""
    figures = Figures()
    data = mesh.folder / "registry"
    for _ in range(rounds()):
        mesh.running["registry"].stop()
        shutil.rmtree(data)
        child = start(mesh)
        figures.rebuild.append(count / float(child.ready()["caught_up_s"]))
        figures.rss.append(child.rss_kb() * 1024)
        figures.cpu.append(child.cpu_s())
        child.stop()
        figures.file.append(sum(path.stat().st_size for path in data.iterdir()) / count)
        started = time.monotonic()
        start(mesh)
        figures.warm.append(time.monotonic() - started)
    own = [(rss - empty_kb * 1024) / count for rss in figures.rss]
    busy = sorted(figures.cpu)[len(figures.cpu) // 2]
    return [
        alone(
            "rebuild_rate", figures.rebuild, unit="devices/s", better="higher", target=30_000, n=count,
            note=f"from the streams of devices, contracts and bodies; the registry used {busy:.1f} s of processor",
        ),
        alone("warm_restart_s", figures.warm, unit="s", better="lower", target=2, n=count, note="start to ready"),
        alone(
            "rss_bytes_per_device", own, unit="bytes", better="lower", target=1024, n=count,
            note=f"just after a rebuild, beyond the {empty_kb // 1024} MiB of a registry without devices;"
            f" altogether {sorted(figures.rss)[-1] / count:.0f}",
        ),
        alone("file_bytes_per_device", figures.file, unit="bytes", better="lower", target=1024, n=count),
    ]  # fmt: skip
