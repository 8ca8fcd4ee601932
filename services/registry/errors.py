"""Errors of the registry."""

from __future__ import annotations

from datetime import datetime

from services.chassis.errors import StoreUnavailableError
from services.domain import ids
from services.domain.errors import Reason, YggError


class DeviceNotFoundError(YggError, reason=Reason.DEVICE_NOT_FOUND):
    """The device is not registered."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"there is no device {device_id}", hint="ygg device ls lists the registered devices.", device=device_id
        )


class DeviceExistsError(YggError, reason=Reason.DEVICE_EXISTS):
    """The device is already registered."""

    def __init__(self, device_id: str) -> None:
        super().__init__(f"{device_id} is already registered", device=device_id)


class NoContractError(YggError, reason=Reason.NO_CONTRACT):
    """The device never connected, so no contract was negotiated."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"{device_id} has no contract yet",
            hint="The contract is negotiated when the device first connects.",
            device=device_id,
        )


class RevisionUnknownError(YggError, reason=Reason.REVISION_UNKNOWN):
    """The contract revision is not stored."""

    def __init__(self, device_id: str, revision: int, oldest: int, newest: int) -> None:
        kept = f"revisions {oldest} to {newest} are kept" if oldest != newest else f"only revision {newest} is kept"
        lacks = f"contract revision {revision}" if revision else f"contract before revision {oldest} to compare with"
        super().__init__(
            f"{device_id} has no {lacks}: {kept}",
            hint=f"ygg device contracts {device_id} lists them.",
            device=device_id,
            oldest=oldest,
            newest=newest,
        )


class DeviceNotActiveError(YggError, reason=Reason.DEVICE_NOT_ACTIVE):
    """The device's state does not allow it to connect."""

    def __init__(self, device_id: str, state: str) -> None:
        super().__init__(f"{device_id} is {state}, only active devices may connect", device=device_id, state=state)


class StaleRevisionError(YggError, reason=Reason.STALE_REVISION):
    """The write was based on an older revision."""

    def __init__(self, device_id: str, given: int, current: int) -> None:
        super().__init__(
            f"{device_id} is at revision {current}, the change was based on {given}",
            hint="Read it again and repeat the change.",
            device=device_id,
            current=current,
        )


class TransitionError(YggError, reason=Reason.STATE_TRANSITION):
    """The lifecycle of a device has no such transition."""

    def __init__(self, device_id: str, old: str, new: str) -> None:
        super().__init__(f"{device_id} is {old} and cannot become {new}", device=device_id)


class DeviceOnlineError(YggError, reason=Reason.DEVICE_ONLINE):
    """The device is connected and would be registered again within seconds."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"{device_id} is online",
            hint=f"Stop it first, or keep it out:  ygg device retire {device_id}",
            device=device_id,
        )


class DeviceKeptOutError(YggError, reason=Reason.DEVICE_KEPT_OUT):
    """The record denies the device access and must not be deleted."""

    def __init__(self, device_id: str, why: str) -> None:
        super().__init__(
            f"{device_id} {why}: without its record a certificate that is still valid admits it again",
            hint=f"If that is intended:  ygg device rm {device_id} --readmit",
            device=device_id,
        )


class GroupNotFoundError(YggError, reason=Reason.GROUP_NOT_FOUND):
    """There is no such group."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no group {name}", hint="ygg group ls lists the groups.", group=name)


class IndexBehindError(YggError, reason=Reason.INDEX_BEHIND):
    """The index of this replica has not reached the required revision."""

    def __init__(self, wanted: object) -> None:
        super().__init__(
            f"the index is behind {wanted}", hint="Try again in a moment, or at another replica.", wanted=wanted
        )


class IndexDiskError(StoreUnavailableError, reason=Reason.INDEX_DISK):
    """The index file cannot be written, usually because its disk is full; no data is lost."""

    def __init__(self, path: object, why: object) -> None:
        super().__init__(
            f"the index {path} cannot be written: {why}",
            hint="Free disk space; the registry then continues automatically.",
        )


class DocumentUnknownError(YggError, reason=Reason.DOCUMENT_UNKNOWN):
    """No capability document with that digest is stored."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"no capability document {digest} is stored", hint="Send the document.", digest=digest)


class PageTokenError(YggError, reason=Reason.PAGE_TOKEN):
    """The page token was not issued by the registry."""

    def __init__(self) -> None:
        super().__init__(
            "page_token is not a token of a previous page",
            hint="Leave it empty for the first page.",
            field="page_token",
        )


class StaleSessionError(YggError, reason=Reason.STALE_SESSION):
    """The report is of a session that a later one replaced."""

    def __init__(self, device_id: str, given: int, current: int) -> None:
        super().__init__(
            f"a later session of {device_id} has already reported",
            device=device_id,
            given=given,
            current=current,
        )


class ResumeTokenError(YggError, reason=Reason.RESUME_TOKEN):
    """The resume token was not issued by this registry, or belongs to another store."""

    def __init__(self) -> None:
        super().__init__(
            "resume_token is not a token of a watch of this registry",
            hint="Leave it empty to start with a snapshot.",
            field="resume_token",
        )


class TokenNotFoundError(YggError, reason=Reason.TOKEN_NOT_FOUND):
    """There is no such enrolment token."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is no token {ids.printable(token_id)}", hint="ygg device tokens lists the tokens.")


class TokenUnknownError(YggError, reason=Reason.TOKEN_UNKNOWN):
    """The token does not exist or is of another device; the message does not distinguish these."""

    def __init__(self) -> None:
        super().__init__("no such token for this device", hint="Create one: ygg device token DEVICE")


class TokenUsedError(YggError, reason=Reason.TOKEN_USED):
    """The token was already used with another key."""

    def __init__(self) -> None:
        super().__init__(
            "the token was already used with another key", hint="Create a new one: ygg device token DEVICE"
        )


class TokenExpiredError(YggError, reason=Reason.TOKEN_EXPIRED):
    """The token has expired."""

    def __init__(self) -> None:
        super().__init__("the token has expired", hint="Create a new one: ygg device token DEVICE")


class CertificateForeignError(YggError, reason=Reason.CERTIFICATE_FOREIGN):
    """The certificate to renew was not issued by this mesh's device CA for this device."""

    def __init__(self, device_id: str, why: str) -> None:
        super().__init__(f"the certificate was not issued by the device CA for {device_id}: {why}", device=device_id)


class CertificateKeyError(YggError, reason=Reason.CERTIFICATE_KEY):
    """The certificate request has a different key than the certificate to renew."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            "the certificate request has a different key than the certificate in use",
            hint=f"For another key:  ygg device token {device_id}",
            device=device_id,
        )


class CertificateEndedError(YggError, reason=Reason.CERTIFICATE_ENDED):
    """The certificate to renew is not valid now."""

    def __init__(self, device_id: str, end: datetime) -> None:
        super().__init__(
            f"the certificate is not valid now; it ends at {end:%Y-%m-%dT%H:%M:%SZ}",
            hint=f"ygg device token {device_id}",
            device=device_id,
        )


class CertificateRevokedError(YggError, reason=Reason.CERTIFICATE_REVOKED):
    """The certificate to renew was revoked."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"the certificate of {device_id} has been revoked",
            hint=f"ygg device token {device_id}",
            device=device_id,
        )


class DeviceCaEndsError(YggError, reason=Reason.DEVICE_CA_ENDS):
    """The device CA expires no later than the certificate, so renewal would not extend it."""

    def __init__(self, end: datetime) -> None:
        super().__init__(
            f"the device CA ends at {end:%Y-%m-%dT%H:%M:%SZ}, no certificate can last longer",
            hint="Create a new device CA; docs/guides/operations.md, Certificates.",
        )


class EnrolmentOffError(YggError, reason=Reason.ENROLMENT_OFF):
    """This registry has no device CA key or no enrolment listener."""

    def __init__(self) -> None:
        super().__init__(
            "this registry does not enrol devices",
            hint="Set YGG_REGISTRY_ENROL_LISTEN, and its device CA key; docs/guides/operations.md, Enrolment.",
        )
