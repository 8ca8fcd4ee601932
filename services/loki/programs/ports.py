"""What programs need from outside: workers, records shared by the replicas, the fleet, and a way to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from services.domain.contract import Contract
from services.domain.errors import YggError
from services.domain.matcher import FailedClause
from services.domain.values import Value
from services.loki.model import Language, Level, LogEntry
from services.loki.ports import Host
from services.loki.programs.errors import WorkerLostError
from services.loki.programs.lifecycle import State
from services.loki.programs.model import Package, Version
from services.loki.programs.placement import Deployment, Ref


@dataclass(frozen=True, slots=True)
class TurnDone:
    """The result of a turn, and the program's memory in bytes after it (0: unknown)."""

    value: Value
    memory_bytes: int = 0


class TurnHost(Host, Protocol):
    """The host of a turn."""

    def log(self, level: Level, text: str) -> None:
        """A line of the log."""


TurnEnd: TypeAlias = TurnDone | YggError | WorkerLostError
TurnEnded: TypeAlias = Callable[[TurnEnd], None]
"""Hears once how a turn ended. Called from the loop; must not raise."""


class ProgramWorker(Protocol):
    """A worker process that holds programs, by number. `crashed_by` is the one that crashed it, 0 for none."""

    lost: asyncio.Event
    crashed_by: int
    programs: set[int]

    @property
    def pid(self) -> int:
        """Return the process id."""

    def begin(self, program: int, request: dict[str, Any], host: TurnHost, ended: TurnEnded) -> int:
        """Begins a turn; its number."""

    def event(self, program: int, key: str, value: str, host: TurnHost, ended: TurnEnded) -> int:
        """Begins a turn that handles an event, as `begin` does; `value` is JSON."""

    def turn(self, program: int, request: dict[str, Any], host: TurnHost) -> tuple[int, asyncio.Future[TurnDone]]:
        """Begins a turn; its number and its end: TurnDone, ScriptError or WorkerLostError."""

    def stop_turn(self, number: int) -> bool:
        """Drop a turn that waits for the host."""

    def drop(self, program: int) -> None:
        """Remove a program."""

    def kill(self, how: str) -> None:
        """Kill the process."""

    async def close(self) -> None:
        """Kill the process and wait for its exit."""


StartWorker = Callable[[Language], Awaitable[ProgramWorker]]


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """An instance as all replicas know it."""

    ref: Ref
    program_id: str
    version: Version | None = None
    state: State = State.LOADED
    problem: str = ""
    failed: tuple[FailedClause, ...] = ()
    replica: str = ""
    epoch: int = 0
    start_time: datetime | None = None
    restarts: int = 0
    last_error: str = ""
    error_time: datetime | None = None
    quarantined: bool = False
    worker_pid: int = 0
    reported: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """A device as far as placement cares."""

    labels: Mapping[str, str] = field(default_factory=dict)
    active: bool = True
    contract_revision: int = 0


class Fleet(Protocol):
    """The devices of the mesh, kept up to date."""

    devices: dict[str, FleetDevice]

    async def contract(self, device_id: str, timeout_s: float) -> Contract | None:
        """Return the device's contract, or None. Raise a YggError on failure."""


class Records(Protocol):
    """Packages, deployments and instances as all replicas know them; the mappings are kept up to date.

    Writes raise RevisionConflictError if another replica was faster, StoreUnavailableError if NATS is unavailable.
    """

    packages: dict[tuple[str, Version], Package]
    deployments: dict[str, Deployment]
    instances: dict[str, InstanceStatus]
    replicas: dict[str, float]

    async def put_package(self, package: Package, author: str) -> None:
        """Store a version."""

    async def delete_package(self, program_id: str, version: Version) -> None:
        """Delete a version."""

    async def put_deployment(self, deployment: Deployment) -> Deployment:
        """Write a deployment by compare-and-set on the known one; return it with its new revision."""

    async def delete_deployment(self, deployment_id: str) -> None:
        """Delete a deployment."""

    async def put_instance(self, status: InstanceStatus) -> None:
        """Write an instance that this replica owns or claims, by compare-and-set on the known record."""

    async def delete_instance(self, ref: Ref) -> None:
        """Delete an instance and its store."""

    async def open_store(self, ref: Ref, epoch: int) -> Store:
        """Return the instance's store, from now on of this epoch."""

    async def renew(self, instances: int) -> None:
        """Renew the lease of this replica."""


class Store(Protocol):
    """The store of one instance. A write of an owner that has been replaced raises FencedError."""

    entries: Mapping[str, Value]
    size_bytes: int

    async def write(self, entries: Mapping[str, Value]) -> None:
        """Replaces all entries; they are kept once this returns."""


class Peers(Protocol):
    """Requests to the replica that runs an instance, and lines of the log for all."""

    async def ask(self, replica: str, method: str, ref: Ref, body: bytes, timeout_s: float) -> bytes:
        """Return the answer of a replica; raise a YggError with the peer's own code and reason."""

    def tell_line(self, ref: Ref, entry: LogEntry) -> None:
        """Publish a log line to watchers, at most once."""
