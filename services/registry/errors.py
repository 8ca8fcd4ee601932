"""What can go wrong in the registry."""

from __future__ import annotations

from datetime import datetime

from services.chassis.errors import StoreUnavailableError
from services.domain import ids
from services.domain.errors import Reason, YggError


class DeviceNotFoundError(YggError, reason=Reason.DEVICE_NOT_FOUND):
    """There is no such device."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"there is no device {device_id}", hint="ygg device ls shows the ones there are.", device=device_id
        )


class DeviceExistsError(YggError, reason=Reason.DEVICE_EXISTS):
    """The device is known already."""

    def __init__(self, device_id: str) -> None:
        super().__init__(f"{device_id} is registered already", device=device_id)


class NoContractError(YggError, reason=Reason.NO_CONTRACT):
    """The device has never connected, so nothing was agreed with it."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"{device_id} has no contract yet", hint="It gets one when it first connects.", device=device_id
        )


class RevisionUnknownError(YggError, reason=Reason.REVISION_UNKNOWN):
    """No such revision of the contract is kept."""

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
    """The device may not connect in its state."""

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
    """The device's life does not go that way."""

    def __init__(self, device_id: str, old: str, new: str) -> None:
        super().__init__(f"{device_id} is {old} and cannot become {new}", device=device_id)


class DeviceOnlineError(YggError, reason=Reason.DEVICE_ONLINE):
    """The device is connected, and would be known again within seconds."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"{device_id} is online",
            hint=f"Stop it first, or keep it out:  ygg device retire {device_id}",
            device=device_id,
        )


class DeviceKeptOutError(YggError, reason=Reason.DEVICE_KEPT_OUT):
    """The record is what keeps the device out."""

    def __init__(self, device_id: str, why: str) -> None:
        super().__init__(
            f"{device_id} {why}: without its record a certificate that is still valid admits it again",
            hint=f"Where that is meant:  ygg device rm {device_id} --readmit",
            device=device_id,
        )


class GroupNotFoundError(YggError, reason=Reason.GROUP_NOT_FOUND):
    """There is no such group."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no group {name}", hint="ygg group ls shows the ones there are.", group=name)


class IndexBehindError(YggError, reason=Reason.INDEX_BEHIND):
    """This replica has not come to the revision that the answer must hold."""

    def __init__(self, wanted: object) -> None:
        super().__init__(
            f"the index is behind {wanted}", hint="Try again in a moment, or at another replica.", wanted=wanted
        )


class IndexDiskError(StoreUnavailableError, reason=Reason.INDEX_DISK):
    """The index's file cannot be written, mostly because its disk is full; nothing is lost, it is a read side."""

    def __init__(self, path: object, why: object) -> None:
        super().__init__(
            f"the index {path} cannot be written: {why}", hint="Free space on its disk; the registry goes on by itself."
        )


class DocumentUnknownError(YggError, reason=Reason.DOCUMENT_UNKNOWN):
    """No capability document of that digest is stored."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"no capability document {digest} is stored", hint="Send its bytes.", digest=digest)


class PageTokenError(YggError, reason=Reason.PAGE_TOKEN):
    """The page token is not one that the registry gave."""

    def __init__(self) -> None:
        super().__init__(
            "page_token is not one that a page before returned",
            hint="Leave it empty for the first page.",
            field="page_token",
        )


class StaleSessionError(YggError, reason=Reason.STALE_SESSION):
    """A report of a session that another one has followed."""

    def __init__(self, device_id: str, given: int, current: int) -> None:
        super().__init__(
            f"a later session of {device_id} has reported already",
            device=device_id,
            given=given,
            current=current,
        )


class ResumeTokenError(YggError, reason=Reason.RESUME_TOKEN):
    """The resume token is not one that the registry gave, or is of another store."""

    def __init__(self) -> None:
        super().__init__(
            "resume_token is not one that a watch here returned",
            hint="Leave it empty to begin with all there is.",
            field="resume_token",
        )


class TokenNotFoundError(YggError, reason=Reason.TOKEN_NOT_FOUND):
    """There is no such token to delete."""

    def __init__(self, token_id: str) -> None:
        super().__init__(
            f"there is no token {ids.printable(token_id)}", hint="ygg device tokens shows the ones there are."
        )


class TokenUnknownError(YggError, reason=Reason.TOKEN_UNKNOWN):
    """No such token, or it is another device's; which of the two is nobody's business."""

    def __init__(self) -> None:
        super().__init__("no such token for this device", hint="Make one: ygg device token DEVICE")


class TokenUsedError(YggError, reason=Reason.TOKEN_USED):
    """The token has brought a certificate to another key already."""

    def __init__(self) -> None:
        super().__init__("the token was used already, with another key", hint="Make a new one: ygg device token DEVICE")


class TokenExpiredError(YggError, reason=Reason.TOKEN_EXPIRED):
    """The token's time is over."""

    def __init__(self) -> None:
        super().__init__("the token has expired", hint="Make a new one: ygg device token DEVICE")


class CertificateForeignError(YggError, reason=Reason.CERTIFICATE_FOREIGN):
    """The certificate to be renewed is not one that this mesh's device CA issued for that device."""

    def __init__(self, device_id: str, why: str) -> None:
        super().__init__(f"the certificate is not one of the device CA for {device_id}: {why}", device=device_id)


class CertificateKeyError(YggError, reason=Reason.CERTIFICATE_KEY):
    """The request is for another key than the certificate that it would take the place of."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            "the request is for another key than the certificate in use",
            hint=f"For another key:  ygg device token {device_id}",
            device=device_id,
        )


class CertificateEndedError(YggError, reason=Reason.CERTIFICATE_ENDED):
    """The certificate is not valid now, so it admits nobody."""

    def __init__(self, device_id: str, end: datetime) -> None:
        super().__init__(
            f"the certificate is not valid now; it ends at {end:%Y-%m-%dT%H:%M:%SZ}",
            hint=f"ygg device token {device_id}",
            device=device_id,
        )


class CertificateRevokedError(YggError, reason=Reason.CERTIFICATE_REVOKED):
    """The certificate was revoked."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"the certificate of {device_id} has been revoked",
            hint=f"ygg device token {device_id}",
            device=device_id,
        )


class DeviceCaEndsError(YggError, reason=Reason.DEVICE_CA_ENDS):
    """The device CA ends as early as the certificate does, so another one would not last longer."""

    def __init__(self, end: datetime) -> None:
        super().__init__(
            f"the device CA ends at {end:%Y-%m-%dT%H:%M:%SZ}, no certificate can last longer",
            hint="Make a new device CA; docs/guides/operations.md, Certificates.",
        )


class EnrolmentOffError(YggError, reason=Reason.ENROLMENT_OFF):
    """This registry holds no device CA key, or listens for no devices."""

    def __init__(self) -> None:
        super().__init__(
            "this registry does not enrol devices",
            hint="Set YGG_REGISTRY_ENROL_LISTEN, and its device CA key; docs/guides/operations.md, Enrolment.",
        )
