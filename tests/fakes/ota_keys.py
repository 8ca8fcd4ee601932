"""Keys, roots and releases for tests: real signatures by the same codec that the tools and the service use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis import trust_codec
from services.domain import merkle, trust
from services.domain.trust import Envelope, Manifest, Role, RoleKeys, Root, Timestamp

NOW = 1_795_000_000
YEAR = 365 * 86_400
SLOT = 1 << 20
CHUNK = 512


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def public(keys: Sequence[ec.EllipticCurvePrivateKey]) -> list[bytes]:
    """Their public halves."""
    return [trust_codec.public_bytes(key.public_key()) for key in keys]


def signed(role: Role, payload: bytes, keys: Sequence[ec.EllipticCurvePrivateKey]) -> Envelope:
    """The payload, signed by each key."""
    return Envelope(payload, [trust_codec.sign(key, role, payload) for key in keys])


@dataclass
class Authority:
    """Two of three root keys, two of three release keys, one timestamp key; and the root that names them."""

    root_keys: list[ec.EllipticCurvePrivateKey] = field(default_factory=lambda: [new_key() for _ in range(3)])
    release_keys: list[ec.EllipticCurvePrivateKey] = field(default_factory=lambda: [new_key() for _ in range(3)])
    timestamp_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    version: int = 1
    expires_unix_s: int = NOW + YEAR

    def root(self) -> Root:
        """The root's content."""
        keys = public([*self.root_keys, *self.release_keys, self.timestamp_key])
        return Root(
            self.version,
            self.expires_unix_s,
            keys,
            RoleKeys(2, (0, 1, 2)),
            RoleKeys(2, (3, 4, 5)),
            RoleKeys(1, (6,)),
        )

    def root_envelope(self, *more: ec.EllipticCurvePrivateKey) -> Envelope:
        """The root, signed by two of its root keys and by `more`."""
        return signed(Role.ROOT, trust_codec.root_bytes(self.root()), [*self.root_keys[:2], *more])

    def root_sha256(self) -> str:
        """The fingerprint to compare before it becomes the first root."""
        return trust.digest(trust_codec.root_bytes(self.root())).hex()

    def release(self, manifest: Manifest, signers: int = 2) -> Envelope:
        """The manifest, signed by so many release keys."""
        return signed(Role.RELEASE, trust_codec.manifest_bytes(manifest), self.release_keys[:signers])

    def stamp(self, stamp: Timestamp) -> Envelope:
        """The timestamp, signed."""
        return signed(Role.TIMESTAMP, trust_codec.timestamp_bytes(stamp), [self.timestamp_key])


def image_of(name: str, size: int = 5000) -> bytes:
    """Bytes that look like an image: not compressible away, the same for the same name."""
    blocks = (hashlib.sha256(f"{name}/{i}".encode()).digest() for i in range(-(-size // 32)))
    return b"".join(blocks)[:size]


def manifest_of(image: bytes, sequence: int = 2, **changes: Any) -> Manifest:
    """A good manifest of the image, but for `changes`."""
    found = Manifest(
        device_class="sim-board",
        version=f"{sequence}.0.0",
        sequence=sequence,
        security_counter=1,
        slot_size_bytes=SLOT,
        image_size_bytes=len(image),
        image_sha256=hashlib.sha256(image).digest(),
        chunk_size_bytes=CHUNK,
        chunks_root=merkle.Tree.of(image, CHUNK).root,
        expires_unix_s=NOW + YEAR,
    )
    return replace(found, **changes)


def stamp_of(envelope: Envelope, nonce: bytes, **changes: Any) -> Timestamp:
    """A good timestamp for an offer of the release in `envelope` to porch-1."""
    found = Timestamp(NOW, 9, nonce, "porch-1", trust.digest(envelope.payload))
    return replace(found, **changes)
