"""Errors of the chassis itself."""

from __future__ import annotations

from services.domain.errors import Code, YggError


class SettingsError(YggError):
    """The environment is not as the service needs it; the message lists every fault."""

    code, reason = Code.INVALID_ARGUMENT, "SETTINGS"


class IdentityError(YggError):
    """An identity directory or a certificate is not usable."""

    code, reason = Code.UNAUTHENTICATED, "IDENTITY"


class ListenError(YggError):
    """The address to listen on is taken, or not of this machine."""

    code, reason = Code.FAILED_PRECONDITION, "LISTEN"


class CallerError(YggError):
    """The caller is known and may not do this."""

    code, reason = Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED"


class StoreUnavailableError(YggError):
    """NATS does not answer; nothing was acknowledged."""

    code, reason = Code.UNAVAILABLE, "STORE_UNAVAILABLE"


class StoreFullError(StoreUnavailableError):
    """NATS answers and takes nothing more: its disk, or the share of it that the mesh may use, is full."""

    code, reason = Code.RESOURCE_EXHAUSTED, "STORE_FULL"


class TooLargeError(YggError):
    """A record or message is larger than NATS stores or carries; nothing was sent."""

    code, reason = Code.INVALID_ARGUMENT, "TOO_LARGE"


class UnreadableRecordError(YggError):
    """A stored record cannot be decoded; it is left as it is, for an operator to restore or delete."""

    code, reason = Code.DATA_LOSS, "UNREADABLE_RECORD"


class RevisionConflictError(YggError):
    """Somebody else wrote the key first."""

    code, reason = Code.ABORTED, "REVISION_CONFLICT"


class RemoteError(YggError):
    """What another service answered, passed on with its own code, reason and message."""

    def __init__(self, code: Code, reason: str, message: str, *, hint: str = "", **data: object) -> None:
        super().__init__(message, hint=hint, **data)
        self.code = code  # type: ignore[misc]
        self.reason = reason  # type: ignore[misc]
