"""Errors of the chassis itself."""

from __future__ import annotations

from services.domain.errors import Code, Reason, YggError


class SettingsError(YggError, reason=Reason.SETTINGS):
    """Settings in the environment are missing or invalid; the message lists all of them."""


class IdentityError(YggError, reason=Reason.IDENTITY):
    """An identity directory or a certificate is unusable."""


class ListenError(YggError, reason=Reason.LISTEN):
    """The listen address is in use or not an address of this machine."""


class CallerError(YggError, reason=Reason.CALLER_NOT_ALLOWED):
    """The caller is authenticated but not allowed to do this."""


class DeadlineError(YggError, reason=Reason.DEADLINE):
    """The deadline passed before the service responded."""


class UnimplementedError(YggError, reason=Reason.UNKNOWN_METHOD):
    """This version of the service does not implement the method."""


class StoreUnavailableError(YggError, reason=Reason.STORE_UNAVAILABLE):
    """NATS does not respond; nothing was acknowledged."""


class StoreFullError(StoreUnavailableError, reason=Reason.STORE_FULL):
    """NATS responds but rejects writes: its disk or the quota of the mesh is full."""


class TooLargeError(YggError, reason=Reason.TOO_LARGE):
    """A record or message exceeds the limits of NATS; nothing was sent."""


class UnreadableRecordError(YggError, reason=Reason.UNREADABLE_RECORD):
    """A stored record cannot be decoded; it is left unchanged for an operator to restore or delete."""


class RevisionConflictError(YggError, reason=Reason.REVISION_CONFLICT):
    """Another writer updated the key first."""


class RemoteError(YggError):
    """A failure that a peer reported, with the peer's own code, reason and details."""

    def __init__(self, code: Code, reason: str, message: str, *, hint: str = "", **data: object) -> None:
        super().__init__(message, hint=hint)
        self.code, self.reason = code, reason
        self.data = {key: str(value) for key, value in data.items()}

    @classmethod
    def of(cls, reason: Reason, message: str, *, hint: str = "", **data: object) -> RemoteError:
        """Return an error of the catalogue for a peer that did not respond."""
        error = cls(reason.code, reason.value, message, hint=hint, **data)
        error.retry_after_s = reason.retry_after_s
        return error
