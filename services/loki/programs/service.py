"""The use cases of programs: load, deploy, roll out. `manager` runs instances, `queries` asks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.domain import ids
from services.domain.contract import Contract
from services.domain.matcher import FailedClause
from services.domain.values import Value
from services.loki.model import Language
from services.loki.ports import Clock
from services.loki.programs import links, model, placement
from services.loki.programs.errors import (
    ContractRefusedError,
    InvalidPackageError,
    ProgramDeployedError,
    ProgramUnknownError,
    RolloutStateError,
    VersionTakenError,
)
from services.loki.programs.lifecycle import State
from services.loki.programs.manager import CONTRACT_TIMEOUT_S, Manager
from services.loki.programs.model import Dependency, Manifest, Package, Version
from services.loki.programs.placement import Canary, Deployment, Ref, Target
from services.loki.programs.ports import Fleet, InstanceStatus, Records
from services.loki.programs.workers import ProgramWorkers

MAX_DEPLOYMENTS = 1000
DEFAULT_SHARE, DEFAULT_THRESHOLD = 10, 3


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment, the devices that it runs on and those that it leaves out."""

    deployment: Deployment
    device_ids: Sequence[str] = ()
    skipped: Sequence[tuple[str, tuple[FailedClause, ...]]] = field(default_factory=list)


class Programs:
    """The use cases. Every method raises StoreUnavailableError if NATS is unavailable."""

    def __init__(self, records: Records, fleet: Fleet, manager: Manager, workers: ProgramWorkers, clock: Clock) -> None:
        self._records, self._fleet, self._manager = records, fleet, manager
        self._workers, self._clock = workers, clock
        self.workers_of = workers.status

    # Packages.

    async def load(
        self, package: Package, author: str, *, validate_only: bool = False, replacing: bool = False
    ) -> tuple[Package, bool]:
        """The package as it is kept, and whether it is new. `replacing`: a version under development may change."""
        checked = model.check_package(package)
        manifest = checked.manifest
        if replacing and not manifest.version.development:
            raise InvalidPackageError(
                f"{manifest.id} {manifest.version} is no version under development: it never changes",
                hint="Give the changed package a new version, or develop with one such as 0.0.0-dev.",
            )
        await self._workers.check(checked, links.link(checked, self._records.packages))
        known = self._records.packages.get((manifest.id, manifest.version))
        if known is not None and not replacing:
            if known.manifest.checksum != manifest.checksum or _settled(known) != _settled(checked):
                raise VersionTakenError(
                    f"{manifest.id} {manifest.version} is loaded already, with another content",
                    hint="Give the changed package a new version.",
                )
            return known, False
        if not validate_only and (
            known is None or known.source != checked.source or _settled(known) != _settled(checked)
        ):
            await self._records.put_package(checked, author)
        return checked, known is None

    def _versions(self) -> dict[str, list[Version]]:
        found: dict[str, list[Version]] = {}
        for program_id, version in self._records.packages:
            found.setdefault(program_id, []).append(version)
        return found

    def programs(self) -> dict[str, list[Package]]:
        """Return the packages by program, newest first."""
        found = {
            program_id: [self._records.packages[program_id, version] for version in sorted(versions, reverse=True)]
            for program_id, versions in self._versions().items()
        }
        return dict(sorted(found.items()))

    def deployments_of(self, program_id: str) -> list[Deployment]:
        """Ordered by id."""
        found = [d for d in self._records.deployments.values() if d.program_id == program_id]
        return sorted(found, key=lambda deployment: deployment.id)

    def package(self, program_id: str, version: str = "") -> Package:
        """Return a version, or the newest; raise ProgramUnknownError."""
        versions = self.programs().get(program_id, [])
        if not version:
            if not versions:
                raise ProgramUnknownError(
                    f"there is no program {ids.printable(program_id)}", hint="See: ygg program ls"
                )
            final = [package for package in versions if not package.manifest.version.pre]
            return (final or versions)[0]
        requested = Version.parse(version)
        for package in versions:
            if package.manifest.version == requested:
                return package
        have = ", ".join(str(package.manifest.version) for package in versions) or "none"
        raise ProgramUnknownError(f"there is no version {requested} of {ids.printable(program_id)}; loaded: {have}")

    async def unload_program(self, program_id: str, version: str, *, end_deployments: bool) -> list[str]:
        """Delete one version or all; return the deployments that ended."""
        packages = [self.package(program_id, version)] if version else self.programs().get(program_id, [])
        if not packages:
            raise ProgramUnknownError(f"there is no program {ids.printable(program_id)}", hint="See: ygg program ls")
        going = {package.manifest.version for package in packages}
        self._not_linked(program_id, going)
        using = [d for d in self.deployments_of(program_id) if going & _versions_of(d)]
        if using and not end_deployments:
            names = ", ".join(deployment.id for deployment in using)
            raise ProgramDeployedError(
                f"{program_id} is deployed: {names}", hint="End the deployments first, or ask to end them, too."
            )
        for deployment in using:
            await self._records.delete_deployment(deployment.id)
        for package in packages:
            await self._records.delete_package(program_id, package.manifest.version)
        return [deployment.id for deployment in using]

    def _not_linked(self, program_id: str, going: set[Version]) -> None:
        linked = [d for d in self._records.deployments.values() if d.uses(program_id, going)]
        if linked:
            names = ", ".join(sorted(deployment.id for deployment in linked))
            raise ProgramDeployedError(
                f"{program_id} is linked into deployed programs: {names}",
                hint="Deploy these with another version of it, or end them first.",
            )

    async def compiles(self, source: str, language: Language, depends: Mapping[str, str]) -> None:
        """Check that a text compiles with loaded packages; raise ScriptError or InvalidPackageError."""
        dependencies = tuple(
            Dependency(name, Version.parse(least) if least else None) for name, least in depends.items()
        )
        package = Package(Manifest("script", Version((0, 0, 0)), language, dependencies=dependencies), source)
        await self._workers.check(package, links.link(package, self._records.packages))

    async def _linked(self, package: Package) -> dict[str, Version]:
        """Return the versions of packages to pin, after a check that the linked program compiles."""
        packages = links.link(package, self._records.packages)
        if packages:
            await self._workers.check(package, packages)
        return links.pins(packages)

    # Deployments.

    def deployment(self, deployment_id: str) -> Deployment:
        """Return the deployment; raise ProgramUnknownError."""
        found = self._records.deployments.get(deployment_id)
        if found is None:
            raise ProgramUnknownError(
                f"there is no deployment {ids.printable(deployment_id)}", hint="See: ygg program ls"
            )
        return found

    async def deploy(
        self,
        program_id: str,
        version: str,
        target: Target,
        deployment_id: str,
        arguments: Mapping[str, Value],
        author: str,
        *,
        stopped: bool,
    ) -> Deployed:
        """Create or change a deployment; raise ContractRefusedError if its only device lacks a requirement."""
        package = self.package(program_id, version)
        manifest = package.manifest
        name = ids.member_id(deployment_id or program_id)
        if target.device_id:
            ids.device_id(target.device_id)
        model.arguments(manifest, arguments)
        known = self._records.deployments.get(name)
        if known is not None and known.program_id != program_id:
            raise InvalidPackageError(
                f"the deployment {name} is of {known.program_id}", hint="Give this one another id, or unload that one."
            )
        if known is None and len(self._records.deployments) >= MAX_DEPLOYMENTS:
            raise InvalidPackageError(f"{MAX_DEPLOYMENTS} deployments are there already, more are not allowed")
        made = Deployment(
            id=name,
            program_id=program_id,
            version=manifest.version,
            target=target,
            running=not stopped,
            arguments=dict(arguments),
            revision=known.revision if known else 0,
            previous=known.version
            if known and known.version != manifest.version
            else known.previous
            if known
            else None,
            generation=known.generation if known else 0,
            author=author,
            packages=await self._linked(package),
        )
        fitting, skipped = await self._fitting(package, made)
        if target.device_id and skipped:
            raise ContractRefusedError(
                f"{target.device_id} cannot run {program_id} {manifest.version}: "
                f"{placement.explanation(skipped[0][1])}",
                hint="Show its capabilities:  ygg device show " + target.device_id,
                clauses=skipped[0][1],
            )
        return Deployed(await self._records.put_deployment(made), fitting, skipped)

    async def _fitting(
        self, package: Package, deployment: Deployment
    ) -> tuple[list[str], list[tuple[str, tuple[FailedClause, ...]]]]:
        if deployment.target.device_id and deployment.target.device_id not in self._fleet.devices:
            raise ProgramUnknownError(f"there is no device {deployment.target.device_id}", hint="See: ygg device ls")
        fitting: list[str] = []
        skipped: list[tuple[str, tuple[FailedClause, ...]]] = []
        for ref in self._manager.refs_of(deployment):
            if not ref.device:
                continue
            clauses = await self._unmet(package, ref.device)
            if clauses:
                skipped.append((ref.device, clauses))
            else:
                fitting.append(ref.device)
        return fitting, skipped

    async def _unmet(self, package: Package, device_id: str) -> tuple[FailedClause, ...]:
        requires = package.manifest.requires
        if not requires:
            return ()
        contract: Contract | None = await self._fleet.contract(device_id, CONTRACT_TIMEOUT_S)
        return placement.unmet(
            requires, contract.capabilities if contract else None, contract.refused if contract else ()
        )

    async def start(self, deployment_id: str) -> Deployment:
        """Set the desired state to running; stopped and failed instances start again."""
        known = self.deployment(deployment_id)
        bad = any(status.state is State.FAILED for status in self.instances(deployment_id))
        generation = known.generation + (1 if known.running and bad else 0)
        return await self._records.put_deployment(replace(known, running=True, generation=generation))

    async def stop(self, deployment_id: str) -> Deployment:
        """Wants it stopped."""
        return await self._records.put_deployment(replace(self.deployment(deployment_id), running=False))

    async def restart(self, deployment_id: str) -> Deployment:
        """Restart every instance."""
        known = self.deployment(deployment_id)
        return await self._records.put_deployment(replace(known, running=True, generation=known.generation + 1))

    async def end(self, deployment_id: str) -> None:
        """End the deployment and delete its stores."""
        self.deployment(deployment_id)
        await self._records.delete_deployment(deployment_id)

    # Rollouts.

    async def start_rollout(self, deployment_id: str, version: str, share: int, threshold: int) -> Deployment:
        """Tries another version on a share of the instances."""
        known = self.deployment(deployment_id)
        package = self.package(known.program_id, version or "")
        if known.canary is not None:
            raise RolloutStateError(
                f"{known.canary.version} is being tried already", hint="Promote it or give it up first."
            )
        if package.manifest.version == known.version:
            raise RolloutStateError(f"{deployment_id} runs {known.version} already")
        if not 0 <= share <= 100 or not 0 <= threshold <= 10_000:
            raise InvalidPackageError("a share is 1 to 100 percent, a threshold 1 to 10000 errors")
        model.arguments(package.manifest, known.arguments)
        canary = Canary(
            package.manifest.version,
            share or DEFAULT_SHARE,
            threshold or DEFAULT_THRESHOLD,
            start_time_s=self._clock.now().timestamp(),
            packages=await self._linked(package),
        )
        return await self._records.put_deployment(replace(known, canary=canary, note=""))

    async def finish_rollout(self, deployment_id: str, *, promote: bool) -> Deployment:
        """Move all instances to the version of the canary, or back to the previous one."""
        known = self.deployment(deployment_id)
        if known.canary is None:
            if promote or known.previous is None:
                raise RolloutStateError(f"nothing is being tried on {deployment_id}", hint=known.note)
            package = self.package(known.program_id, str(known.previous))
            back = replace(
                known,
                version=known.previous,
                previous=known.version,
                note=f"back to {known.previous}",
                packages=await self._linked(package),
            )
            return await self._records.put_deployment(back)
        tried = known.canary.version
        if promote:
            after = replace(
                known,
                version=tried,
                previous=known.version,
                canary=None,
                note=f"{tried} was promoted",
                packages=known.canary.packages,
            )
        else:
            after = replace(known, canary=None, note=f"{tried} was given up: back to {known.version}")
        return await self._records.put_deployment(after)

    # Instances.

    def status(self, ref: Ref) -> InstanceStatus | None:
        """Return the status that its replica reported, None if it is unclaimed."""
        return self._records.instances.get(ref.key)

    def instances(self, deployment_id: str = "", device_id: str = "") -> list[InstanceStatus]:
        """Return the reported statuses by deployment and device; an unclaimed instance is LOADED."""
        found: dict[Ref, InstanceStatus] = {
            ref: InstanceStatus(ref, what.deployment.program_id, what.version)
            for ref, what in self._manager.desired().items()
        }
        found |= {status.ref: status for status in self._records.instances.values() if status.ref in found}
        return [
            found[ref]
            for ref in sorted(found)
            if deployment_id in ("", ref.deployment) and device_id in ("", ref.device)
        ]


def _settled(package: Package) -> object:
    return replace(package.manifest, create_time=None)


def _versions_of(deployment: Deployment) -> set[Version]:
    return {deployment.version} | ({deployment.canary.version} if deployment.canary else set())
