"""Which packages a package is linked with: those that it depends on, and what these depend on. Pure.

Of each the newest version is taken that every one of them accepts: at least the minimum, of the same major version.
The selected versions are pinned, so that an instance restarts with the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.loki.programs.errors import InvalidPackageError
from services.loki.programs.model import Dependency, Package, Version

MAX_PACKAGES = 16
MAX_LINKED_BYTES = 512 * 1024

Loaded = Mapping[tuple[str, Version], Package]


@dataclass(frozen=True, slots=True)
class _Wish:
    """The dependency of one package on another."""

    by: str
    dependency: Dependency

    def accepts(self, version: Version) -> bool:
        """Return whether a version satisfies the dependency."""
        least = self.dependency.minimum
        if least is None:
            return True
        return version >= least and version.numbers[0] == least.numbers[0]

    def __str__(self) -> str:
        least = self.dependency.minimum
        return f"{self.dependency.id} {least} or a later {least.numbers[0]}.x" if least else self.dependency.id


def link(package: Package, loaded: Loaded) -> tuple[Package, ...]:
    """Return the packages to run before `package`, each after those that it needs itself; raise InvalidPackageError."""
    return _in_order(package, _choose(package, loaded))


def pinned(pins: Mapping[str, Version], package: Package, loaded: Loaded) -> tuple[Package, ...]:
    """Return the same from pinned versions; raise InvalidPackageError if one is no longer loaded."""
    if not package.manifest.dependencies:
        return ()
    chosen: dict[str, Package] = {}
    for program_id, version in pins.items():
        found = loaded.get((program_id, version))
        if found is None:
            raise InvalidPackageError(
                f"{program_id} {version} is no longer loaded", hint="Load it again, or deploy again."
            )
        chosen[program_id] = found
    return _in_order(package, chosen)


def pins(packages: Iterable[Package]) -> dict[str, Version]:
    """Return the versions to pin."""
    return {package.manifest.id: package.manifest.version for package in packages}


def job(package: Package, packages: Sequence[Package]) -> dict[str, object]:
    """Return the packages beside the program for a worker's request; empty if there are none.

    `packages`: each with id, label, source, checksum and `uses`, the ids that it may name; `uses`: the program's.
    """
    if not packages:
        return {}
    return {
        "uses": _uses(package),
        "packages": [
            {
                "id": one.manifest.id,
                "label": one.label,
                "source": one.source,
                "checksum": one.manifest.checksum,
                "uses": _uses(one),
            }
            for one in packages
        ],
    }


def _uses(package: Package) -> list[str]:
    return [dependency.id for dependency in package.manifest.dependencies]


def _choose(package: Package, loaded: Loaded) -> dict[str, Package]:
    """The newest of each that all accept. A choice can add wishes, which can change it: again until nothing changes."""
    chosen: dict[str, Package] = {}
    for _ in range(MAX_PACKAGES * MAX_PACKAGES):
        wishes: dict[str, list[_Wish]] = {}
        for one in (package, *chosen.values()):
            for dependency in one.manifest.dependencies:
                wishes.setdefault(dependency.id, []).append(_Wish(one.manifest.id, dependency))
        if package.manifest.id in wishes:
            raise _cycle(package, chosen, wishes[package.manifest.id][0].by)
        if len(wishes) > MAX_PACKAGES:
            raise InvalidPackageError(
                f"it is linked with {len(wishes)} packages, at most {MAX_PACKAGES} are allowed",
                hint="Put small packages that belong together into one.",
            )
        found = {name: _newest(name, asked, package, loaded) for name, asked in sorted(wishes.items())}
        if found == chosen:
            return chosen
        chosen = found
    raise InvalidPackageError(
        "the versions of its packages contradict each other", hint="Ask for exact minima of fewer of them."
    )


def _newest(name: str, wishes: list[_Wish], package: Package, loaded: Loaded) -> Package:
    have = sorted(version for program_id, version in loaded if program_id == name)
    fit = [version for version in have if all(wish.accepts(version) for wish in wishes)]
    if not fit:
        asked = "; ".join(f"{wish} (for {wish.by})" for wish in wishes)
        versions = f"loaded: {', '.join(map(str, have))}" if have else "no version of it is loaded"
        raise InvalidPackageError(f"it depends on {asked}; {versions}", hint=f"Load it first:  ygg program load {name}")
    final = [version for version in fit if not version.pre]
    found = loaded[name, (final or fit)[-1]]
    if found.manifest.language is not package.manifest.language:
        raise InvalidPackageError(
            f"{name} {found.manifest.version} is written in {found.manifest.language.value},"
            f" {package.manifest.id} in {package.manifest.language.value}",
            hint="A program links only packages of the same language.",
        )
    return found


def _in_order(package: Package, chosen: Mapping[str, Package]) -> tuple[Package, ...]:
    ordered: list[Package] = []
    path: list[str] = []

    def visit(one: Package) -> None:
        if one in ordered:
            return
        if one.manifest.id in path:
            raise _cyclic([*path[path.index(one.manifest.id) :], one.manifest.id])
        path.append(one.manifest.id)
        for dependency in one.manifest.dependencies:
            if dependency.id not in chosen:
                raise InvalidPackageError(
                    f"{dependency.id} is not among what {package.manifest.id} was linked with", hint="Deploy it again."
                )
            visit(chosen[dependency.id])
        path.pop()
        ordered.append(one)

    visit(package)
    size = sum(len(one.source.encode("utf-8", "surrogatepass")) for one in ordered)
    if size > MAX_LINKED_BYTES and len(ordered) > 1:
        raise InvalidPackageError(
            f"with its packages it is {size} bytes of source, at most {MAX_LINKED_BYTES} are allowed",
            hint="Remove unused dependencies.",
        )
    return tuple(ordered[:-1])


def _cycle(package: Package, chosen: Mapping[str, Package], last: str) -> InvalidPackageError:
    """Return a way from the package back to itself, through `last`."""
    known = {**chosen, package.manifest.id: package}
    ways = {last: [last, package.manifest.id]}
    for _ in known:
        for name, one in known.items():
            for dependency in one.manifest.dependencies:
                if dependency.id in ways and name not in ways:
                    ways[name] = [name, *ways[dependency.id]]
    return _cyclic(ways.get(package.manifest.id, [package.manifest.id, last, package.manifest.id]))


def _cyclic(way: list[str]) -> InvalidPackageError:
    return InvalidPackageError(
        f"packages depend on each other in a circle: {' -> '.join(way)}", hint="Move what both need into a third one."
    )
