"""Errors of operations on programs. A turn of a program fails with a ScriptError."""

from __future__ import annotations

from typing import Any

from services.domain.errors import Reason, YggError
from services.domain.matcher import FailedClause


class InvalidPackageError(YggError, reason=Reason.INVALID_PACKAGE):
    """The package is invalid: identity, checksum, limits or dependencies."""


class VersionTakenError(YggError, reason=Reason.VERSION_TAKEN):
    """The version is already registered with different content."""


class ProgramUnknownError(YggError, reason=Reason.PROGRAM_NOT_FOUND):
    """There is no such program, version, deployment or instance."""


class ProgramDeployedError(YggError, reason=Reason.PROGRAM_DEPLOYED):
    """The version is deployed and cannot be deleted."""


class ContractRefusedError(YggError, reason=Reason.REQUIREMENTS_NOT_MET):
    """The device's contract does not meet the requirements of the program.

    `details` are messages for the status; the API makes them from `clauses`.
    """

    def __init__(self, message: str, *, clauses: tuple[FailedClause, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.clauses = clauses
        self.details: tuple[Any, ...] = ()


class RolloutStateError(YggError, reason=Reason.ROLLOUT_STATE):
    """The state of the deployment does not allow to start or finish a rollout."""


class NotRunningError(YggError, reason=Reason.PROGRAM_NOT_RUNNING):
    """The instance is not running and cannot be queried."""


class FencedError(YggError, reason=Reason.LEASE_LOST):
    """This replica lost the lease; further effects of the instance here must be rejected."""


class StoreFullError(YggError, reason=Reason.STORE_FULL):
    """The instance's store would exceed its limit."""


class ReportFullError(YggError, reason=Reason.REPORT_FULL):
    """The instance would report more than its limit."""


class TooManyTimersError(YggError, reason=Reason.TOO_MANY_TIMERS):
    """The instance has reached its limit of timers."""


class TooManyHandlersError(YggError, reason=Reason.TOO_MANY_HANDLERS):
    """The instance has reached its limit of handlers."""


class QueueFullError(YggError, reason=Reason.QUEUE_FULL):
    """The event queue of the instance is full."""


class WorkerLostError(Exception):
    """The worker process ended. `crashed_by` is the number of the program that was running, 0 without one."""

    def __init__(self, how: str, crashed_by: int = 0) -> None:
        super().__init__(how)
        self.how, self.crashed_by = how, crashed_by
