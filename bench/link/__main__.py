"""`python -m bench.link [PART…]`: connect, calls, load, events, crowd; see bench/harness/command.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from bench.harness import command
from bench.harness.identities import BenchPki
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.results import Metric
from bench.link import calls, connect, crowd, events, load

PARTS = ("connect", "calls", "load", "events", "crowd")
_RAMP_FRACTION = 0.6
_MIN_RAMP = 50
Part = Callable[[Mesh], Awaitable[list[Metric]]]


async def _crowd(mesh: Mesh, found: Sequence[Metric]) -> list[Metric]:
    rates = [metric.ours for metric in found if metric.key == "connect_rate" and metric.ours]
    return await crowd.measure(mesh, max(_MIN_RAMP, int(_RAMP_FRACTION * (rates[0] if rates else 200))))


async def measure(parts: Sequence[str]) -> list[Metric]:
    """Measure the selected parts. The crowd has its own mesh, since it kills the bridge."""
    steps: dict[str, Part] = {
        "connect": connect.measure,
        "calls": calls.measure,
        "load": load.measure,
        "events": events.measure,
    }
    pki, found = BenchPki(), list[Metric]()
    with running_mesh(pki) as mesh:
        for name in [name for name in steps if name in parts]:
            found += command.show(name, await steps[name](mesh))
    if "crowd" in parts:
        with running_mesh(pki) as mesh:
            found += command.show("crowd", await _crowd(mesh, found))
    return found


if __name__ == "__main__":
    command.run("link", PARTS, measure, clients_in_c=True)
