"""Roots and release manifests as files: made, signed, looked at. A file is the envelope as it crosses the wire.

Owns how a role's keys become a root and an image becomes a manifest. The rules are services.domain.trust.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis import trust_codec
from services.domain import merkle, trust
from services.domain.errors import YggError
from services.domain.trust import Delta, Envelope, Manifest, Role, RoleKeys, Root
from ygg.exits import CliError, UsageError
from ygg.files import PUBLIC, write_atomic


@dataclass(frozen=True, slots=True)
class Holders:
    """The public keys of a role, and how many of them must sign."""

    keys: Sequence[bytes]
    threshold: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds. `body` is a Root or a Manifest."""

    role: Role
    envelope: Envelope
    body: Root | Manifest


def make_root(version: int, expires_unix_s: int, root: Holders, release: Holders, timestamp: Holders) -> Root:
    """A root that names each key once; raises MalformedMetadataError where the roles are against a rule."""
    keys = list(dict.fromkeys([*root.keys, *release.keys, *timestamp.keys]))
    place = {key: index for index, key in enumerate(keys)}

    def role(holders: Holders) -> RoleKeys:
        return RoleKeys(holders.threshold, tuple(sorted(place[key] for key in holders.keys)))

    return trust.check_root(Root(version, expires_unix_s, tuple(keys), role(root), role(release), role(timestamp)))


def holders(root: Root, role: Role) -> Holders:
    """Who holds a role in a root."""
    keys = root.role(role)
    return Holders([root.keys[index] for index in keys.keys], keys.threshold)


def make_manifest(image: bytes, blank: Manifest) -> Manifest:
    """`blank` with the image's length, digest and root; raises MalformedMetadataError."""
    if not image:
        raise UsageError("the image is empty")
    return trust.check_manifest(
        replace(
            blank,
            image_size_bytes=len(image),
            image_sha256=hashlib.sha256(image).digest(),
            chunks_root=merkle.Tree.of(image, blank.chunk_size_bytes).root,
        )
    )


def with_patch(manifest: Manifest, old: bytes, patch: bytes) -> Manifest:
    """`manifest` that names a patch from `old`; raises MalformedMetadataError where it is longer than the image."""
    root = merkle.Tree.of(patch, manifest.chunk_size_bytes).root
    delta = Delta(hashlib.sha256(old).digest(), len(patch), hashlib.sha256(patch).digest(), root)
    return trust.check_manifest(replace(manifest, delta=delta))


def make_patch(old: bytes, new: bytes) -> bytes:
    """A patch as devices take it: sequential, CRLE or heatshrink, whichever is smaller. Takes seconds a megabyte."""
    import detools  # type: ignore[import-untyped]

    found = []
    for compression in ("crle", "heatshrink"):
        patch = io.BytesIO()
        detools.create_patch(io.BytesIO(old), io.BytesIO(new), patch, compression=compression, use_mmap=False)
        found.append(patch.getvalue())
    return min(found, key=len)


def unsigned(body: Root | Manifest) -> Envelope:
    """Nothing but the bytes to sign."""
    return Envelope(trust_codec.root_bytes(body) if isinstance(body, Root) else trust_codec.manifest_bytes(body))


def sign(role: Role, envelope: Envelope, keys: Sequence[ec.EllipticCurvePrivateKey]) -> Envelope:
    """The envelope with these signatures too; one that a key made before is replaced."""
    new = {s.key_id: s for s in (trust_codec.sign(key, role, envelope.payload) for key in keys)}
    kept = [s for s in envelope.signatures if s.key_id not in new]
    if len(kept) + len(new) > trust.MAX_KEYS:
        raise UsageError(f"an envelope has at most {trust.MAX_KEYS} signatures")
    return Envelope(envelope.payload, [*kept, *new.values()])


def read(path: Path) -> Found:
    """What is in a file; raises CliError if it is neither a root nor a manifest, or breaks a rule of its form."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise CliError(f"cannot read {path}: {e.strerror}") from e
    why = []
    for role, parse in ((Role.ROOT, trust_codec.root), (Role.RELEASE, trust_codec.manifest)):
        try:
            envelope = trust_codec.envelope(role, data)
            return Found(role, envelope, parse(envelope.payload))
        except YggError as e:
            why.append(e.message)
    raise CliError(f"{path} is neither a root ({why[0]}) nor a release manifest ({why[1]})")


def read_root(path: Path) -> tuple[Root, Envelope]:
    """The root in a file; raises UsageError where it is something else."""
    found = read(path)
    if not isinstance(found.body, Root):
        raise UsageError(f"{path} is a release manifest, not a root")
    return found.body, found.envelope


def write(path: Path, role: Role, envelope: Envelope) -> int:
    """Writes the file; returns its length. Raises TooLongError."""
    data = trust.check_length(role, trust_codec.envelope_bytes(envelope))
    write_atomic(path, data, PUBLIC)
    return len(data)


def good_signers(root: Root, role: Role, envelope: Envelope) -> list[str]:
    """Ids (hex) of the role's keys in `root` whose signatures are good."""
    names = {trust.key_id(key): key for key in holders(root, role).keys}
    good = {
        s.key_id.hex()
        for s in envelope.signatures
        if s.key_id in names and trust_codec.verify(names[s.key_id], role.value + envelope.payload, s.value)
    }
    return sorted(good)
