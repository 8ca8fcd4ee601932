"""Every way in which something asked of a program fails. What a program's own turn fails with is a ScriptError."""

from __future__ import annotations

from typing import Any

from services.domain.errors import Code, YggError
from services.domain.matcher import FailedClause


class InvalidPackageError(YggError):
    """The package breaks a rule: identity, checksum, limits, dependencies."""

    code, reason = Code.INVALID_ARGUMENT, "INVALID_PACKAGE"


class VersionTakenError(YggError):
    """The version is there with another content."""

    code, reason = Code.ALREADY_EXISTS, "VERSION_TAKEN"


class ProgramUnknownError(YggError):
    """There is no such program, version, deployment or instance."""

    code, reason = Code.NOT_FOUND, "PROGRAM_NOT_FOUND"


class ProgramDeployedError(YggError):
    """The version is deployed and so cannot be forgotten."""

    code, reason = Code.FAILED_PRECONDITION, "PROGRAM_DEPLOYED"


class ContractRefusedError(YggError):
    """The device's contract does not have what the program requires.

    `details` are messages for the status; the API makes them from `clauses`.
    """

    code, reason = Code.FAILED_PRECONDITION, "REQUIREMENTS_NOT_MET"

    def __init__(self, message: str, *, clauses: tuple[FailedClause, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.clauses = clauses
        self.details: tuple[Any, ...] = ()


class RolloutStateError(YggError):
    """The rollout cannot be started or ended as the deployment is."""

    code, reason = Code.FAILED_PRECONDITION, "ROLLOUT_STATE"


class NotRunningError(YggError):
    """The instance does not run, so nothing can be asked of it."""

    code, reason = Code.FAILED_PRECONDITION, "PROGRAM_NOT_RUNNING"


class FencedError(YggError):
    """This replica's lease is over: whatever the instance still does here must have no effect."""

    code, reason = Code.ABORTED, "LEASE_LOST"


class StoreFullError(YggError):
    """The instance's store would be larger than its limit."""

    code, reason = Code.RESOURCE_EXHAUSTED, "STORE_FULL"


class ReportFullError(YggError):
    """The instance would report more of itself than its limit."""

    code, reason = Code.RESOURCE_EXHAUSTED, "REPORT_FULL"


class TooManyTimersError(YggError):
    """The instance has as many timers as it may."""

    code, reason = Code.RESOURCE_EXHAUSTED, "TOO_MANY_TIMERS"


class TooManyHandlersError(YggError):
    """The instance listens to as much as it may."""

    code, reason = Code.RESOURCE_EXHAUSTED, "TOO_MANY_HANDLERS"


class QueueFullError(YggError):
    """Too many events wait for the instance already."""

    code, reason = Code.RESOURCE_EXHAUSTED, "QUEUE_FULL"


class WorkerLostError(Exception):
    """The worker process ended. `culprit` is the number of the program whose turn it was in, 0 where in none."""

    def __init__(self, how: str, culprit: int = 0) -> None:
        super().__init__(how)
        self.how, self.culprit = how, culprit
