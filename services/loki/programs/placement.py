"""Which instances are desired, which version each runs, and which replica runs it. Pure.

Replicas share instances by rendezvous hashing: each computes the same answer from the same list of living replicas,
and only the instances of a replica that comes or goes move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.domain.capability import Capability
from services.domain.contract import Refusal
from services.domain.matcher import ClauseKind, FailedClause, match_all
from services.domain.requirements import Requirement
from services.domain.selectors import Selector
from services.domain.values import Value
from services.loki.programs.model import Version

MESH = "_mesh"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """An instance: its deployment, and its device or ""."""

    deployment: str
    device: str = ""

    @property
    def key(self) -> str:
        """Return the key in buckets: `blink.porch-1`, `sweep._mesh`."""
        return f"{self.deployment}.{self.device or MESH}"

    @classmethod
    def of_key(cls, key: str) -> Ref:
        """Return the reference of a `key`."""
        deployment, _, device = key.partition(".")
        return cls(deployment, "" if device == MESH else device)


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a deployment: one device, the devices of a selector, or (both empty) the mesh."""

    device_id: str = ""
    selector: str = ""

    @property
    def mesh(self) -> bool:
        """Return whether the target is the mesh: one instance without a default device."""
        return not self.device_id and not self.selector


@dataclass(frozen=True, slots=True)
class Canary:
    """A version tried on a share of the instances; given up at `threshold` errors. `packages` as of Deployment."""

    version: Version
    share_percent: int
    threshold: int
    errors: int = 0
    start_time_s: float = 0.0
    packages: Mapping[str, Version] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A program to run and its targets. `packages` are the versions of packages that `version` is linked with."""

    id: str
    program_id: str
    version: Version
    target: Target
    running: bool = True
    arguments: Mapping[str, Value] = field(default_factory=dict)
    revision: int = 1
    canary: Canary | None = None
    previous: Version | None = None
    note: str = ""
    generation: int = 0
    update_time_s: float = 0.0
    author: str = ""
    packages: Mapping[str, Version] = field(default_factory=dict)

    def pins(self, version: Version) -> Mapping[str, Version]:
        """Return the versions of packages that one of its two versions is linked with."""
        return self.canary.packages if self.canary and version == self.canary.version else self.packages

    def uses(self, program_id: str, versions: Collection[Version]) -> bool:
        """Return whether one of these versions of a program is linked into the deployment."""
        pinned = (self.packages, self.canary.packages if self.canary else {})
        return any(pins.get(program_id) in versions for pins in pinned)


def refs(deployment: Deployment, devices: Mapping[str, Mapping[str, str]], selector: Selector | None) -> list[Ref]:
    """Return the desired instances of a deployment; `devices` maps the ids of active devices to labels."""
    if deployment.target.mesh:
        return [Ref(deployment.id)]
    if deployment.target.device_id:
        return [Ref(deployment.id, deployment.target.device_id)]
    if selector is None:
        return []
    return [Ref(deployment.id, device) for device, labels in devices.items() if selector.matches(labels)]


def _score(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest())


def owner(key: str, replicas: Collection[str]) -> str:
    """Return the replica that runs an instance, "" without replicas."""
    return max(replicas, key=lambda replica: (_score(replica, key), replica), default="")


def version_of(deployment: Deployment, instances: Sequence[Ref], ref: Ref) -> Version:
    """The version that one of the deployment's instances runs: the canary's for a share of them, at least one."""
    if deployment.canary is None:
        return deployment.version
    return deployment.canary.version if ref in canaries(deployment, instances) else deployment.version


def canaries(deployment: Deployment, instances: Sequence[Ref]) -> frozenset[Ref]:
    """Return the instances of the canary: those first in an order that stays the same while devices come and go."""
    if deployment.canary is None:
        return frozenset()
    count = max(1, len(instances) * deployment.canary.share_percent // 100)
    return frozenset(sorted(instances, key=lambda ref: _score("canary", ref.key))[:count])


def unmet(
    requires: Sequence[Requirement], capabilities: Sequence[Capability] | None, refused: Sequence[Refusal] = ()
) -> tuple[FailedClause, ...]:
    """Return the requirements that a contract fails; `capabilities` None means no contract. Empty: it may run."""
    if not requires:
        return ()
    if capabilities is None:
        return (FailedClause(ClauseKind.NO_CONTRACT, "the device has no contract yet"),)
    return tuple(clause for found in match_all(requires, capabilities, refused) for clause in found.failed)


def explanation(clauses: Iterable[FailedClause]) -> str:
    """Clauses for people."""
    return "; ".join(clause.message for clause in clauses)
