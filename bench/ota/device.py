"""Costs of an update on the device: a patch for one more function, and RAM; for the rv32imc image of `make size`.

The second image is the first with one more function before all others, called instead of ygg_agent_step
(firmware/tests/size_more.c), linked by `make -C firmware size-more`. The service's own code makes the patch.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

from bench.harness import packages
from bench.harness.machine import ROOT
from bench.harness.process import BenchError
from bench.harness.results import Metric
from services.ota.adapters.patches import FORMATS, DetoolsPatches

_COMPILER = "riscv64-unknown-elf-gcc"
_BUILT = ROOT / "build" / "firmware" / "rv32"


async def measure() -> list[Metric]:
    """Measure both figures; raise BenchError if no compiler can be installed."""
    packages.program(_COMPILER, *packages.RV32)
    command = ["make", "-s", "-C", str(ROOT / "firmware"), f"PYTHON={sys.executable}", "size-more"]
    await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    old, new = (_BUILT / "size.bin").read_bytes(), (_BUILT / "more.bin").read_bytes()
    patch = await DetoolsPatches().make(old, new, sum(FORMATS))
    if patch is None or old == new:
        raise BenchError("no patch between the two images")
    ram = json.loads((ROOT / "build" / "size.json").read_text())["device_update_ram_bytes"]
    note = f"a patch of {len(patch):,} bytes from an image of {len(old):,} to one of {len(new):,}, rv32imc"
    ram_note = "state of boot, install, patch and trust, one envelope and the root; on rv32imc, by `make size`"
    return [
        Metric("delta_ratio_one_function", len(patch) / len(new), "of the image", "lower", target=0.06, note=note),
        Metric("device_update_ram_bytes", ram, "B", "lower", target=4096, note=ram_note),
    ]
