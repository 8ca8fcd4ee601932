"""Errors of the OTA service."""

from __future__ import annotations

from services.domain.errors import Reason, YggError


class ImageNotFoundError(YggError, reason=Reason.IMAGE_NOT_FOUND):
    """There is no such image."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"there is no image {sha256}", hint="Upload it first.", sha256=sha256)


class InvalidUploadError(YggError, reason=Reason.INVALID_UPLOAD):
    """The messages of an upload violate its protocol; nothing was stored."""


class SizeMismatchError(YggError, reason=Reason.SIZE_MISMATCH):
    """The upload has a different size than its header announced; nothing was stored."""

    def __init__(self, announced: int, got: int) -> None:
        what = f"at least {got} were received" if got > announced else f"only {got} were received"
        super().__init__(f"the header announced {announced} bytes, {what}", announced=announced, got=got)


class DigestMismatchError(YggError, reason=Reason.DIGEST_MISMATCH):
    """The upload has a different SHA-256 than its header announced; nothing was stored."""

    def __init__(self, announced: str, got: str) -> None:
        super().__init__(
            f"the header announced SHA-256 {announced}, the upload has {got}",
            hint="The file was damaged in transit, or the header is of another file.",
            announced=announced,
            got=got,
        )


class PartMismatchError(YggError, reason=Reason.PART_MISMATCH):
    """A part is not the one that the header lists; it was discarded."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(
            f"part {index} {why}",
            hint="The file was damaged in transit, or the header is of another file.",
            index=index,
        )


class PartsMissingError(YggError, reason=Reason.PARTS_MISSING):
    """The upload ended with parts missing or expired; the others are kept."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} parts are missing", hint="Send the parts that GetUpload lists as missing.", count=count
        )


class PartsFullError(YggError, reason=Reason.UPLOADS_FULL):
    """The limit of parts of unfinished uploads is reached."""

    def __init__(self) -> None:
        super().__init__(
            "too many unfinished uploads",
            hint="Finish them or raise YGG_OTA_UPLOAD_PARTS; they expire.",
        )


class UploadStalledError(YggError, reason=Reason.UPLOAD_STALLED):
    """The uploader sent nothing for too long; an upload in parts keeps the parts received."""

    def __init__(self, idle_s: float) -> None:
        super().__init__(f"no data received for {idle_s:g} s", hint="Send the image again.", idle_s=idle_s)


class RangeOutsideImageError(YggError, reason=Reason.RANGE_OUTSIDE_IMAGE):
    """The byte range is outside the image."""

    def __init__(self, offset: int, length: int, size: int) -> None:
        super().__init__(
            f"{length or 'the'} bytes from {offset} are not in an image of {size} bytes",
            offset_bytes=offset,
            length_bytes=length,
            size_bytes=size,
        )


class CorruptImageError(YggError, reason=Reason.CORRUPT_IMAGE):
    """The object store returned bytes that differ from the stored image; they were not passed on."""

    def __init__(self, sha256: str, what: str) -> None:
        super().__init__(
            f"the stored image {sha256} is damaged: {what}", hint="Delete it and upload it again.", sha256=sha256
        )


class CacheFullError(YggError, reason=Reason.CACHE_FULL):
    """The disk cache is full: active downloads hold all of it, or its disk is full."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the image cache is full: {why}",
            hint="Try again in a moment, raise YGG_OTA_CACHE_BYTES or free disk space.",
        )


class ObjectStoreError(YggError, reason=Reason.OBJECT_STORE_UNAVAILABLE):
    """The object store does not respond, or not as expected."""


class ObjectStoreRefusedError(YggError, reason=Reason.OBJECT_STORE_REFUSED):
    """The object store rejects OTA's credentials or bucket."""


class InvalidRolloutError(YggError, reason=Reason.INVALID_ROLLOUT):
    """The rollout's waves, limits or times are invalid."""


_STATE_HINTS = {
    "halted": "After a halt: resume, rollback or abort.",
    "aborted": "It has ended. Start another one: ygg ota rollout start",
    "done": "It has ended. Start another one: ygg ota rollout start",
}


class RolloutStateError(YggError, reason=Reason.ROLLOUT_STATE):
    """The rollout's state does not allow this operation."""

    def __init__(self, rollout_id: str, state: str) -> None:
        super().__init__(
            f"rollout {rollout_id} is {state}", hint=_STATE_HINTS.get(state, ""), rollout=rollout_id, state=state
        )


class RolloutNotFoundError(YggError, reason=Reason.ROLLOUT_NOT_FOUND):
    """There is no such rollout."""

    def __init__(self, rollout_id: str) -> None:
        super().__init__(f"there is no rollout {rollout_id!r}", hint="See `ygg ota rollout ls`.", rollout=rollout_id)


class ReleaseNotFoundError(YggError, reason=Reason.RELEASE_NOT_FOUND):
    """There is no such release."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no release {name!r}", hint="See `ygg ota status`.", release=name)


class NotDelegatedError(YggError, reason=Reason.TIMESTAMP_KEY):
    """The root does not delegate timestamps to this service's key, so no device would accept them."""

    def __init__(self) -> None:
        super().__init__(
            "the root does not delegate timestamps to this service's key",
            hint="Start OTA with the delegated key, or delegate to this one: ygg ota root rotate",
        )


class NoEarlierReleaseError(YggError, reason=Reason.NO_EARLIER_RELEASE):
    """No earlier release of the device class may be offered."""

    def __init__(self, device_class: str, sequence: int) -> None:
        super().__init__(
            f"{device_class} has no release before {sequence} that may be offered",
            hint="Release an image to roll back to; one below the security floor is not offered.",
            device_class=device_class,
            sequence=sequence,
        )


class NoRootError(YggError, reason=Reason.NO_ROOT):
    """No root of trust is set."""

    def __init__(self) -> None:
        super().__init__("no root is set", hint="Create and sign one offline, then: ygg ota root set FILE --bootstrap")


class RootBootstrapError(YggError, reason=Reason.ROOT_BOOTSTRAP):
    """The first root requires an explicit bootstrap that names its SHA-256."""

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"no root is set, and the first one requires a bootstrap; this one has SHA-256 {digest}",
            hint="Compare the SHA-256 with the key holders (ygg ota inspect FILE), then: "
            "ygg ota root set FILE --bootstrap",
            root_sha256=digest,
        )


class RootDigestError(YggError, reason=Reason.ROOT_DIGEST):
    """The bootstrap names another SHA-256 than that of the root."""

    def __init__(self, digest: str, named: str) -> None:
        super().__init__(
            f"the root has SHA-256 {digest}, the bootstrap names {named}",
            hint="Nothing was set. Name the SHA-256 that `ygg ota inspect` shows as payload_sha256.",
            root_sha256=digest,
        )


class RootDiffersError(YggError, reason=Reason.ROOT_DIFFERS):
    """Another root with the same version is known."""

    def __init__(self, version: int, digest: str, known: str, in_force: int) -> None:
        where = "in force" if version == in_force else f"that was in force before root {in_force}"
        super().__init__(
            f"root {version} with SHA-256 {digest} differs from root {version} {where}, which has {known}",
            hint=f"A root is replaced by the next version only: ygg ota root rotate, from root {in_force}.",
            root_sha256=digest,
            known_sha256=known,
        )


class RootInForceError(YggError, reason=Reason.ROOT_IN_FORCE):
    """A newer root is in force; a bootstrap or an older root is rejected."""

    def __init__(self, version: int, in_force: int) -> None:
        super().__init__(
            f"root {in_force} is in force; root {version} is not its bootstrap",
            hint=f"Root {in_force + 1} is set without a bootstrap, with the signatures that root {in_force} requires.",
            version=in_force,
        )


class RootNotFoundError(YggError, reason=Reason.ROOT_NOT_FOUND):
    """There is no root of that version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"there is no root {version}", version=version)


class ReleaseRefusedError(YggError, reason=Reason.RELEASE_REFUSED):
    """The release contradicts stored releases, or must not be offered."""


class NothingToUpdateError(YggError, reason=Reason.NOTHING_TO_UPDATE):
    """The rollout selects no device to update."""


class DownloadForbiddenError(YggError, reason=Reason.DOWNLOAD_FORBIDDEN):
    """The token is unknown, expired, used up or of another device; the message does not distinguish these."""

    def __init__(self) -> None:
        super().__init__("the download token is not valid")


class DeltaError(YggError, reason=Reason.DELTA):
    """A patch could not be created."""
