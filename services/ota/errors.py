"""What can go wrong in ota."""

from __future__ import annotations

from services.domain.errors import Reason, YggError


class ImageNotFoundError(YggError, reason=Reason.IMAGE_NOT_FOUND):
    """There is no such image."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"there is no image {sha256}", hint="Upload it first.", sha256=sha256)


class InvalidUploadError(YggError, reason=Reason.INVALID_UPLOAD):
    """The messages of an upload are not as the protocol wants them; nothing was stored."""


class SizeMismatchError(YggError, reason=Reason.SIZE_MISMATCH):
    """The bytes are more or fewer than announced; nothing was stored."""

    def __init__(self, announced: int, got: int) -> None:
        what = f"at least {got} bytes came" if got > announced else f"only {got} bytes came"
        super().__init__(f"the header announced {announced} bytes, {what}", announced=announced, got=got)


class DigestMismatchError(YggError, reason=Reason.DIGEST_MISMATCH):
    """The bytes are not those announced; nothing was stored."""

    def __init__(self, announced: str, got: str) -> None:
        super().__init__(
            f"the header announced SHA-256 {announced}, the bytes have {got}",
            hint="The file changed on the way, or the header is of another file.",
            announced=announced,
            got=got,
        )


class PartMismatchError(YggError, reason=Reason.PART_MISMATCH):
    """A part is not the one that the header names; it was not kept."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(
            f"part {index} {why}", hint="The file changed on the way, or the header is of another file.", index=index
        )


class PartsMissingError(YggError, reason=Reason.PARTS_MISSING):
    """The uploader has ended and parts are missing, or were dropped meanwhile; the others are kept."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} parts are missing", hint="Ask GetUpload which, and send them.", count=count)


class PartsFullError(YggError, reason=Reason.UPLOADS_FULL):
    """As many parts of unfinished uploads are kept as may be."""

    def __init__(self) -> None:
        super().__init__(
            "too many unfinished uploads are kept",
            hint="Finish them, or give ota more UPLOAD_PARTS; they expire.",
        )


class UploadStalledError(YggError, reason=Reason.UPLOAD_STALLED):
    """The uploader sent nothing for too long; of an upload in parts, those that came are kept."""

    def __init__(self, idle_s: float) -> None:
        super().__init__(f"nothing came for {idle_s:g} s", hint="Send the image again.", idle_s=idle_s)


class RangeOutsideImageError(YggError, reason=Reason.RANGE_OUTSIDE_IMAGE):
    """The image has no such bytes."""

    def __init__(self, offset: int, length: int, size: int) -> None:
        super().__init__(
            f"{length or 'the'} bytes from {offset} are not in an image of {size} bytes",
            offset_bytes=offset,
            length_bytes=length,
            size_bytes=size,
        )


class CorruptImageError(YggError, reason=Reason.CORRUPT_IMAGE):
    """The object store returned other bytes than were stored; they were not passed on."""

    def __init__(self, sha256: str, what: str) -> None:
        super().__init__(
            f"the stored image {sha256} is damaged: {what}", hint="Delete it and upload it again.", sha256=sha256
        )


class CacheFullError(YggError, reason=Reason.CACHE_FULL):
    """The disk cache has no room, because downloads under way hold all of it or the disk is full."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the image cache has no room: {why}", hint="Try again in a moment, or give ota more CACHE_BYTES or disk."
        )


class ObjectStoreError(YggError, reason=Reason.OBJECT_STORE_UNAVAILABLE):
    """The object store does not answer, or not as it should."""


class ObjectStoreRefusedError(YggError, reason=Reason.OBJECT_STORE_REFUSED):
    """The object store refuses ota's credentials or its bucket."""


class InvalidRolloutError(YggError, reason=Reason.INVALID_ROLLOUT):
    """A rollout cannot be so."""


_STATE_HINTS = {
    "halted": "After a halt: resume, rollback or abort.",
    "aborted": "It has ended. Start another one: ygg ota rollout start",
    "done": "It has ended. Start another one: ygg ota rollout start",
}


class RolloutStateError(YggError, reason=Reason.ROLLOUT_STATE):
    """The rollout is not in a state for this."""

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
    """No device would believe what this service signs."""

    def __init__(self) -> None:
        super().__init__(
            "the root does not name this service's timestamp key",
            hint="Start ota with the key that the root names, or set a root that names this one: ygg ota root rotate",
        )


class NoEarlierReleaseError(YggError, reason=Reason.NO_EARLIER_RELEASE):
    """There is nothing to go back to."""

    def __init__(self, device_class: str, sequence: int) -> None:
        super().__init__(
            f"{device_class} has no release before {sequence} that may be offered",
            hint="Release an image to go back to; one below the security floor is not offered.",
            device_class=device_class,
            sequence=sequence,
        )


class NoRootError(YggError, reason=Reason.NO_ROOT):
    """No root of trust was set yet."""

    def __init__(self) -> None:
        super().__init__("no root is set", hint="Make and sign one offline, then: ygg ota root set FILE --bootstrap")


class RootBootstrapError(YggError, reason=Reason.ROOT_BOOTSTRAP):
    """Nothing vouches for a first root but whoever sets it, and they have not said that it is this one."""

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"no root is set, and nothing vouches for the first one; this one has SHA-256 {digest}",
            hint="Compare that with the holders of its keys (ygg ota inspect FILE), then: "
            "ygg ota root set FILE --bootstrap",
            root_sha256=digest,
        )


class RootDigestError(YggError, reason=Reason.ROOT_DIGEST):
    """The bootstrap names another root than the one that came."""

    def __init__(self, digest: str, named: str) -> None:
        super().__init__(
            f"the root has SHA-256 {digest}, the bootstrap names {named}",
            hint="Nothing was set. Name the SHA-256 that `ygg ota inspect` shows as payload_sha256.",
            root_sha256=digest,
        )


class RootDiffersError(YggError, reason=Reason.ROOT_DIFFERS):
    """It has the version of a root that is known, and is another one."""

    def __init__(self, version: int, digest: str, known: str, in_force: int) -> None:
        where = "in force" if version == in_force else f"that was in force before root {in_force}"
        super().__init__(
            f"root {version} with SHA-256 {digest} differs from root {version} {where}, which has {known}",
            hint=f"A root is replaced by the next version only: ygg ota root rotate, from root {in_force}.",
            root_sha256=digest,
            known_sha256=known,
        )


class RootInForceError(YggError, reason=Reason.ROOT_IN_FORCE):
    """A bootstrap, or an old root, where a newer one is in force."""

    def __init__(self, version: int, in_force: int) -> None:
        super().__init__(
            f"root {in_force} is in force; root {version} is not its bootstrap",
            hint=f"Root {in_force + 1} is set without a bootstrap, with the signatures that root {in_force} asks for.",
            version=in_force,
        )


class RootNotFoundError(YggError, reason=Reason.ROOT_NOT_FOUND):
    """There is no root of that version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"there is no root {version}", version=version)


class ReleaseRefusedError(YggError, reason=Reason.RELEASE_REFUSED):
    """The release does not fit what is stored, or must not be offered."""


class NothingToUpdateError(YggError, reason=Reason.NOTHING_TO_UPDATE):
    """No device is to be updated."""


class DownloadForbiddenError(YggError, reason=Reason.DOWNLOAD_FORBIDDEN):
    """The token is unknown, of another device, used up or too old; which of them is not told."""

    def __init__(self) -> None:
        super().__init__("this token opens nothing here")


class DeltaError(YggError, reason=Reason.DELTA):
    """A patch could not be made."""
