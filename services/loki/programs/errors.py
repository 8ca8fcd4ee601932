"""Every way in which something asked of a program fails. What a program's own turn fails with is a ScriptError."""

from __future__ import annotations

from typing import Any

from services.domain.errors import Reason, YggError
from services.domain.matcher import FailedClause


class InvalidPackageError(YggError, reason=Reason.INVALID_PACKAGE):
    """The package breaks a rule: identity, checksum, limits, dependencies."""


class VersionTakenError(YggError, reason=Reason.VERSION_TAKEN):
    """The version is there with another content."""


class ProgramUnknownError(YggError, reason=Reason.PROGRAM_NOT_FOUND):
    """There is no such program, version, deployment or instance."""


class ProgramDeployedError(YggError, reason=Reason.PROGRAM_DEPLOYED):
    """The version is deployed and so cannot be forgotten."""


class ContractRefusedError(YggError, reason=Reason.REQUIREMENTS_NOT_MET):
    """The device's contract does not have what the program requires.

    `details` are messages for the status; the API makes them from `clauses`.
    """

    def __init__(self, message: str, *, clauses: tuple[FailedClause, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.clauses = clauses
        self.details: tuple[Any, ...] = ()


class RolloutStateError(YggError, reason=Reason.ROLLOUT_STATE):
    """The rollout cannot be started or ended as the deployment is."""


class NotRunningError(YggError, reason=Reason.PROGRAM_NOT_RUNNING):
    """The instance does not run, so nothing can be asked of it."""


class FencedError(YggError, reason=Reason.LEASE_LOST):
    """This replica's lease is over: whatever the instance still does here must have no effect."""


class StoreFullError(YggError, reason=Reason.STORE_FULL):
    """The instance's store would be larger than its limit."""


class ReportFullError(YggError, reason=Reason.REPORT_FULL):
    """The instance would report more of itself than its limit."""


class TooManyTimersError(YggError, reason=Reason.TOO_MANY_TIMERS):
    """The instance has as many timers as it may."""


class TooManyHandlersError(YggError, reason=Reason.TOO_MANY_HANDLERS):
    """The instance listens to as much as it may."""


class QueueFullError(YggError, reason=Reason.QUEUE_FULL):
    """Too many events wait for the instance already."""


class WorkerLostError(Exception):
    """The worker process ended. `crashed_by` is the number of the program whose turn it was in, 0 where in none."""

    def __init__(self, how: str, crashed_by: int = 0) -> None:
        super().__init__(how)
        self.how, self.crashed_by = how, crashed_by
