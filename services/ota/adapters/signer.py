"""The timestamp key: one file, PKCS#8 PEM, 0600, created if missing. The only private key of updates in the service."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis import trust_codec
from services.chassis.errors import SettingsError
from services.domain.trust import Envelope, Role


class TimestampKey:
    """Signs timestamps only: the signed data starts with the context of the role."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key = trust_codec.public_bytes(key.public_key())

    @classmethod
    def open(cls, path: Path) -> TimestampKey:
        """Read the key, creating it if missing; raises SettingsError."""
        try:
            if not path.exists():
                _make(path)
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as e:
            raise SettingsError(f"YGG_OTA_TIMESTAMP_KEY: {path}: {e}", hint="Use a PEM file without password.") from e
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SettingsError(f"YGG_OTA_TIMESTAMP_KEY: {path} is not a key on P-256")
        return cls(key)

    def sign(self, payload: bytes) -> bytes:
        """Return the envelope of a timestamp."""
        return trust_codec.envelope_bytes(Envelope(payload, [trust_codec.sign(self._key, Role.TIMESTAMP, payload)]))


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(pem)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(temporary, path)  # unlike rename, never replaces the key of another replica
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
