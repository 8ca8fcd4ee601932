"""Build each mutant of a list and require a proof to fail on it.

Owns the format of the list, the builds and the verdict. Does not own the proof, which is any program that exits 0 on
success. A mutant that does not compile, or without exactly one match of `find`, is an error of the list. Exit status
1 if a mutant survives.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 120
"""A mutant that takes longer than this made the proof loop forever: it is caught."""


@dataclass(frozen=True)
class Mutation:
    """One change of one file."""

    number: int
    name: str
    file: Path
    find: str
    replace: str


@dataclass(frozen=True)
class Bench:
    """The build of mutants: the compiler with its flags, and the objects to link."""

    compile: list[str]
    objects: list[Path]
    out: Path


def read_list(path: Path) -> list[Mutation]:
    """Return the mutations of a list, numbered from 1."""
    entries = tomllib.loads(path.read_text())["mutation"]
    return [
        Mutation(number, entry["name"], Path(entry["file"]), entry["find"], entry["replace"])
        for number, entry in enumerate(entries, 1)
    ]


def build(bench: Bench, mutation: Mutation) -> Path:
    """Return the proof, built with one file mutated. Raise ValueError if the list is wrong; it counts as survived."""
    source = mutation.file.read_text()
    if source.count(mutation.find) != 1:
        raise ValueError(
            f"{mutation.name}: its text occurs {source.count(mutation.find)} times in {mutation.file}, not once"
        )
    changed = bench.out / f"{mutation.number}.c"
    changed.write_text(source.replace(mutation.find, mutation.replace))
    kept = [str(path) for path in bench.objects if not str(path).endswith(str(mutation.file.with_suffix(".o")))]
    program = bench.out / f"{mutation.number}"
    command = [*bench.compile, str(changed), *kept, "-lcrypto", "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise ValueError(f"{mutation.name}: does not compile\n{built.stderr}")
    return program


def verdict(bench: Bench, mutation: Mutation) -> tuple[bool, str]:
    """Return whether the proof failed on a mutant, and its message."""
    try:
        program = build(bench, mutation)
    except ValueError as error:
        return False, str(error)
    try:
        ran = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return True, "the proof did not terminate"
    finally:
        program.unlink()
    said = [line for line in ran.stdout.splitlines() if line.startswith("FAILED")]
    return ran.returncode != 0, said[0] if said else f"exit status {ran.returncode}"


def main() -> int:
    """Build and run all mutants of the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--compile", required=True, help="compiler and flags, as one string")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("objects", type=Path, nargs="+", help="objects of the unchanged proof")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.compile.split(), options.objects, options.out)
    mutations = read_list(options.list)
    survived = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutation, (caught, said) in zip(
            mutations, pool.map(lambda each: verdict(bench, each), mutations), strict=True
        ):
            survived += not caught
            sys.stdout.write(f"  {'caught  ' if caught else 'SURVIVED'} {mutation.name}: {said}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(mutations)} mutants, {len(mutations) - survived} caught, {survived} survived\n")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
