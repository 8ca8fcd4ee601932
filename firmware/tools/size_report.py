"""Report flash and static RAM of the rv32imc image by object, and compare them with a budget.

Owns the parsing of the linker map and of `nm`, the table and the JSON. Does not build anything. Source of the map
format: GNU ld, "-Map". Exit status 1 if the budget is exceeded.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = ("core", "wire", "nanopb", "generated")
"""The parts that every device has; the board and the C library belong to the port."""
FLASH_SECTIONS = (".init", ".text", ".rodata", ".data", ".preserve")
RAM_SECTIONS = (".data", ".bss", ".tdata", ".tbss")
CORE_RAM = ("size_agent", "size_scratch", "size_event_memory", "size_answer_memory", "size_sample_memory")
"""The objects of tests/size_main.c with the agent's state, without frame buffers."""
UPDATE_RAM = ("size_ota", "size_boot")
"""Additional objects of a device with updates: one envelope, the root, the state of boot, install and patch."""
UPDATE_OBJECTS = (
    "boot",
    "flashlog",
    "install",
    "merkle",
    "ota",
    "ota_chunks",
    "ota_report",
    "patch",
    "trust",
    "metadata",
)
FRAME_BUFFERS = ("size_rx_frame", "size_tx_frame")
_PLACED = re.compile(r"^ (?P<section>\.\S+)\s+0x(?P<address>[0-9a-f]+)\s+0x(?P<size>[0-9a-f]+)\s+(?P<file>\S+)$")
_OUTPUT = re.compile(r"^(?P<section>\.\S+)(\s|$)")


@dataclass
class Usage:
    """Bytes of one object or part."""

    flash: int = 0
    ram: int = 0

    def add(self, other: Usage) -> None:
        """Add the bytes of another usage."""
        self.flash += other.flash
        self.ram += other.ram


@dataclass
class Report:
    """The composition of the image, in bytes."""

    objects: dict[tuple[str, str], Usage] = field(default_factory=lambda: defaultdict(Usage))
    symbols: dict[str, int] = field(default_factory=dict)

    def parts(self) -> dict[str, Usage]:
        """Return the usage of each part, the library first."""
        found: dict[str, Usage] = {name: Usage() for name in LIBRARY}
        for (part, _), usage in self.objects.items():
            found.setdefault(part, Usage()).add(usage)
        return found

    def library_flash(self) -> int:
        """Return the flash of core, wire and nanopb, updates included."""
        return sum(usage.flash for part, usage in self.parts().items() if part in LIBRARY)

    def core_ram(self) -> int:
        """Return the RAM of one agent: its struct, scratch, event and answer memory. No frame buffers."""
        return sum(self.symbols[name] for name in CORE_RAM)

    def update_ram(self) -> int:
        """Return the additional RAM of updates."""
        return sum(self.symbols[name] for name in UPDATE_RAM)

    def update_flash(self) -> int:
        """Return the flash of the update path, without cryptography."""
        return sum(usage.flash for (_, name), usage in self.objects.items() if name in UPDATE_OBJECTS)

    def frame_ram(self) -> int:
        """Return the RAM of the two frame buffers."""
        return sum(self.symbols[name] for name in FRAME_BUFFERS)


def joined(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the map; joins lines that ld breaks after a long section name."""
    pending = ""
    for line in lines:
        if re.match(r"^ \.\S+$", line):
            pending = line
            continue
        yield pending + line if pending and line.startswith("  ") else line
        pending = ""


def part_of(path: str) -> tuple[str, str]:
    """Return the part that an object belongs to, and its name in it."""
    found = re.search(r"/obj/(?:(nanopb|gen|core|wire|boards|hal|tests)/)(.+)\.o$", path)
    if found is None:
        return "C library", re.sub(r".*/|\)$", "", path).replace("(", ":")
    part = {"gen": "generated", "boards": "board", "hal": "harness", "tests": "harness"}.get(found[1], found[1])
    return part, found[2]


def read_map(text: str) -> dict[tuple[str, str], Usage]:
    """Return the usage of each object from a linker map. Sections that the linker dropped are not counted."""
    objects: dict[tuple[str, str], Usage] = defaultdict(Usage)
    output = ""
    for line in joined(text.partition("Linker script and memory map")[2].splitlines()):
        if named := _OUTPUT.match(line):
            output = named["section"]
        placed = _PLACED.match(line)
        if placed is None or int(placed["address"], 16) == 0:
            continue
        size, usage = int(placed["size"], 16), objects[part_of(placed["file"])]
        usage.flash += size if output.startswith(FLASH_SECTIONS) else 0
        usage.ram += size if output.startswith(RAM_SECTIONS) else 0
    return objects


def read_symbols(nm: str, elf: Path) -> dict[str, int]:
    """Return the sizes of the image's variables, in bytes."""
    listed = subprocess.run([nm, "--print-size", str(elf)], capture_output=True, text=True, check=True).stdout
    columns = (line.split() for line in listed.splitlines())
    return {found[3]: int(found[1], 16) for found in columns if len(found) == 4 and found[2] in "bBdD"}


def table(report: Report) -> str:
    """Return the report as a table."""
    lines = [f"{'rv32imc, -Os':<24}{'flash':>8}{'RAM':>8}   bytes"]
    for part, total in report.parts().items():
        lines.append(f"{part:<24}{total.flash:>8}{total.ram:>8}")
        inside = sorted(report.objects.items(), key=lambda item: -item[1].flash)
        for (owner, name), usage in inside:
            if owner == part and part in (*LIBRARY, "board") and usage.flash + usage.ram > 0:
                lines.append(f"  {name:<22}{usage.flash:>8}{usage.ram:>8}")
    return "\n".join(lines)


def summary(report: Report) -> dict[str, int]:
    """Return the figures that have a budget."""
    return {
        "library_flash_bytes": report.library_flash(),
        "agent_struct_bytes": report.symbols["size_agent"],
        "core_ram_bytes": report.core_ram(),
        "frame_buffers_bytes": report.frame_ram(),
        "device_update_ram_bytes": report.update_ram(),
        "device_update_flash_bytes": report.update_flash(),
    }


def over_budget(figures: dict[str, int], budget: dict[str, int]) -> list[str]:
    """Return a message for each figure over budget."""
    return [f"{key} is {figures[key]}, the budget is {limit}" for key, limit in budget.items() if figures[key] > limit]


def main() -> int:
    """Print the table, write the JSON and compare with the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("map", "elf", "budget", "json"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--nm", required=True)
    options = parser.parse_args()
    report = Report(read_map(options.map.read_text()), read_symbols(options.nm, options.elf))
    budget: dict[str, int] = json.loads(options.budget.read_text())
    figures = summary(report)
    parts = {part: {"flash": usage.flash, "ram": usage.ram} for part, usage in report.parts().items()}
    options.json.write_text(json.dumps({**figures, "budget": budget, "parts": parts}, indent=2) + "\n")
    sys.stdout.write(table(report) + "\n\n")
    for key, value in figures.items():
        sys.stdout.write(f"{key:<26}{value:>8}   budget {budget[key]}\n")
    faults = over_budget(figures, budget)
    for fault in faults:
        sys.stderr.write(f"size: {fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
