"""rebuild_rate, warm_restart_s and sizes: the registry started without and with its index."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field

from bench.harness.compare import alone
from bench.harness.machine import rounds
from bench.harness.mesh import Mesh
from bench.harness.process import Child
from bench.harness.results import Metric

REBUILD_TIMEOUT_S = 600.0
"""Timeout of a rebuild, in seconds."""


@dataclass(slots=True)
class Figures:
    """Figures of each round."""

    rebuild: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    file: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def start(mesh: Mesh) -> Child:
    """Start the registry with the existing index, if any."""
    return mesh.start_service("registry", REBUILD_TIMEOUT_S, data_dir=str(mesh.folder / "registry"))


def measure(mesh: Mesh, count: int, empty_kb: int) -> list[Metric]:
    """Measure; leaves the registry running with a warm index.

    `empty_kb` is the memory of a registry without devices.
    """
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
            f" total {sorted(figures.rss)[-1] / count:.0f}",
        ),
        alone("file_bytes_per_device", figures.file, unit="bytes", better="lower", target=1024, n=count),
    ]  # fmt: skip
