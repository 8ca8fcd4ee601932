"""Create, sign, read and write roots and release manifests. A file holds the envelope in its wire format.

Owns building a root from role keys and a manifest from an image. The rules are in services.domain.trust.
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
    """The public keys of a role and its signature threshold."""

    keys: Sequence[bytes]
    threshold: int


@dataclass(frozen=True, slots=True)
class Found:
    """The parsed content of a file."""

    role: Role
    envelope: Envelope
    body: Root | Manifest


def make_root(version: int, expires_unix_s: int, root: Holders, release: Holders, timestamp: Holders) -> Root:
    """Return a root that lists each key once. Raises MalformedMetadataError if the roles violate a rule."""
    keys = list(dict.fromkeys([*root.keys, *release.keys, *timestamp.keys]))
    place = {key: index for index, key in enumerate(keys)}

    def role(holders: Holders) -> RoleKeys:
        return RoleKeys(holders.threshold, tuple(sorted(place[key] for key in holders.keys)))

    return trust.check_root(Root(version, expires_unix_s, tuple(keys), role(root), role(release), role(timestamp)))


def holders(root: Root, role: Role) -> Holders:
    """Return the keys and threshold of a role in a root."""
    keys = root.role(role)
    return Holders([root.keys[index] for index in keys.keys], keys.threshold)


def make_manifest(image: bytes, blank: Manifest) -> Manifest:
    """Return `blank` with the image's length, digest and Merkle root. Raises MalformedMetadataError."""
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
    """Return `manifest` with a patch from `old`. Raises MalformedMetadataError if it is longer than the image."""
    root = merkle.Tree.of(patch, manifest.chunk_size_bytes).root
    delta = Delta(hashlib.sha256(old).digest(), len(patch), hashlib.sha256(patch).digest(), root)
    return trust.check_manifest(replace(manifest, delta=delta))


def make_patch(old: bytes, new: bytes) -> bytes:
    """Return a sequential patch, with CRLE or heatshrink compression, whichever is smaller. Slow: seconds per MB."""
    import detools  # type: ignore[import-untyped]

    found = []
    for compression in ("crle", "heatshrink"):
        patch = io.BytesIO()
        detools.create_patch(io.BytesIO(old), io.BytesIO(new), patch, compression=compression, use_mmap=False)
        found.append(patch.getvalue())
    return min(found, key=len)


def unsigned(body: Root | Manifest) -> Envelope:
    """Return an envelope without signatures."""
    return Envelope(trust_codec.root_bytes(body) if isinstance(body, Root) else trust_codec.manifest_bytes(body))


def sign(role: Role, envelope: Envelope, keys: Sequence[ec.EllipticCurvePrivateKey]) -> Envelope:
    """Return the envelope with signatures of `keys` added; a key's earlier signature is replaced."""
    new = {s.key_id: s for s in (trust_codec.sign(key, role, envelope.payload) for key in keys)}
    kept = [s for s in envelope.signatures if s.key_id not in new]
    if len(kept) + len(new) > trust.MAX_KEYS:
        raise UsageError(f"too many signatures: an envelope holds at most {trust.MAX_KEYS}")
    return Envelope(envelope.payload, [*kept, *new.values()])


def read(path: Path) -> Found:
    """Parse a file. Raises CliError if it is neither a valid root nor a valid manifest."""
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
    """Return the root in a file. Raises UsageError if the file holds a manifest."""
    found = read(path)
    if not isinstance(found.body, Root):
        raise UsageError(f"{path} is a release manifest, not a root")
    return found.body, found.envelope


def write(path: Path, role: Role, envelope: Envelope) -> int:
    """Write the file; return its length. Raises TooLongError."""
    data = trust.check_length(role, trust_codec.envelope_bytes(envelope))
    write_atomic(path, data, PUBLIC)
    return len(data)


def valid_signers(root: Root, role: Role, envelope: Envelope) -> list[str]:
    """Return the ids (hex) of the role's keys in `root` with a valid signature, sorted."""
    names = {trust.key_id(key): key for key in holders(root, role).keys}
    valid = {
        s.key_id.hex()
        for s in envelope.signatures
        if s.key_id in names and trust_codec.verify(names[s.key_id], role.value + envelope.payload, s.value)
    }
    return sorted(valid)
