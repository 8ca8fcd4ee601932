"""Signed metadata of updates: conversion between bytes and services.domain.trust, and ECDSA P-256 signatures.

Shared by ota, which verifies and holds the timestamp key, and by the offline tools, which hold the other keys. Parses
in the order that docs/reference/updates.md requires: length, envelope, signatures, and only then the payload.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from google.protobuf.message import DecodeError, Message

from services.domain import trust
from services.domain.trust import Role
from yggdrasil.device.v1 import ota_pb2 as pb

_HALF = 32
"""Bytes of a coordinate of P-256, and of r and s."""


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return X and Y of the public key, 64 bytes."""
    point = key.public_numbers()
    return point.x.to_bytes(_HALF, "big") + point.y.to_bytes(_HALF, "big")


def sign(key: ec.EllipticCurvePrivateKey, role: Role, payload: bytes) -> trust.Signature:
    """Return the signature of `key` over the role's context and the payload."""
    r, s = decode_dss_signature(key.sign(role.value + payload, ec.ECDSA(hashes.SHA256())))
    return trust.Signature(
        trust.key_id(public_bytes(key.public_key())), r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
    )


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Implements trust.Verify."""
    if len(public_key) != 2 * _HALF or len(signature) != 2 * _HALF:
        return False
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + public_key)
        r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def envelope(role: Role, data: bytes) -> trust.Envelope:
    """Return the envelope in `data` without parsing its payload. Raises MalformedMetadataError."""
    message = pb.Envelope()
    _parse(message, trust.check_length(role, data))
    return trust.Envelope(message.payload, [trust.Signature(s.key_id, s.signature) for s in message.signatures])


def envelope_bytes(found: trust.Envelope) -> bytes:
    """Return the envelope as it is stored and sent."""
    signatures = [pb.Signature(key_id=s.key_id, signature=s.value) for s in found.signatures]
    return pb.Envelope(payload=found.payload, signatures=signatures).SerializeToString(deterministic=True)


def root(payload: bytes) -> trust.Root:
    """Return the root in a signed payload. Raises MalformedMetadataError."""
    message = pb.Root()
    _parse(message, payload)
    roles = [trust.RoleKeys(r.threshold, tuple(r.keys)) for r in (message.root, message.release, message.timestamp)]
    return trust.check_root(trust.Root(message.version, message.expires_unix_s, tuple(message.keys), *roles))


def root_bytes(found: trust.Root) -> bytes:
    """Return the payload to sign."""
    message = pb.Root(version=found.version, expires_unix_s=found.expires_unix_s, keys=found.keys)
    for role in Role:
        keys = found.role(role)
        getattr(message, role.name.lower()).CopyFrom(pb.RoleKeys(threshold=keys.threshold, keys=keys.keys))
    return message.SerializeToString(deterministic=True)


def manifest(payload: bytes) -> trust.Manifest:
    """Return the manifest in a signed payload. Raises MalformedMetadataError."""
    message = pb.ReleaseManifest()
    _parse(message, payload)
    return trust.check_manifest(
        trust.Manifest(
            message.device_class,
            message.version,
            message.sequence,
            message.security_counter,
            message.slot_size_bytes,
            message.image_size_bytes,
            message.image_sha256,
            message.chunk_size_bytes,
            message.chunks_root,
            message.expires_unix_s,
            delta(message.delta) if message.HasField("delta") else None,
        )
    )


def manifest_bytes(found: trust.Manifest) -> bytes:
    """Return the payload to sign."""
    message = pb.ReleaseManifest(
        device_class=found.device_class,
        version=found.version,
        sequence=found.sequence,
        security_counter=found.security_counter,
        slot_size_bytes=found.slot_size_bytes,
        image_size_bytes=found.image_size_bytes,
        image_sha256=found.image_sha256,
        chunk_size_bytes=found.chunk_size_bytes,
        chunks_root=found.chunks_root,
        expires_unix_s=found.expires_unix_s,
        delta=delta_to_proto(found.delta) if found.delta else None,
    )
    return message.SerializeToString(deterministic=True)


def delta(message: pb.Delta) -> trust.Delta:
    """Return the patch of a message."""
    return trust.Delta(
        message.precursor_sha256, message.patch_size_bytes, message.patch_sha256, message.patch_chunks_root
    )


def delta_to_proto(found: trust.Delta) -> pb.Delta:
    """Return the message of a patch."""
    return pb.Delta(
        precursor_sha256=found.precursor_sha256,
        patch_size_bytes=found.patch_size_bytes,
        patch_sha256=found.patch_sha256,
        patch_chunks_root=found.patch_chunks_root,
    )


def timestamp(payload: bytes) -> trust.Timestamp:
    """Return the timestamp in a signed payload. Raises MalformedMetadataError."""
    message = pb.Timestamp()
    _parse(message, payload)
    return trust.Timestamp(
        message.time_unix_s,
        message.newest_sequence,
        message.nonce,
        message.device_id,
        message.release_sha256,
        message.allow_older,
    )


def timestamp_bytes(found: trust.Timestamp) -> bytes:
    """Return the payload to sign."""
    message = pb.Timestamp(
        time_unix_s=found.time_unix_s,
        newest_sequence=found.newest_sequence,
        nonce=found.nonce,
        device_id=found.device_id,
        release_sha256=found.release_sha256,
        allow_older=found.allow_older,
    )
    return message.SerializeToString(deterministic=True)


def _parse(message: Message, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as e:
        raise trust.MalformedMetadataError(f"the bytes are not a valid {message.DESCRIPTOR.name}") from e
