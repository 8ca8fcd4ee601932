"""Signing keys as files: PKCS#8 PEM, 0600, with a password where one is given; the public half beside it.

Owns what is on the disk. What is signed is `ygg.ota.metadata`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis import trust_codec
from services.domain import trust
from ygg.exits import CliError, UsageError
from ygg.files import PUBLIC, SECRET, private_dir, write_atomic


def generate(path: Path, password: str = "", *, force: bool = False) -> bytes:
    """Writes `path` and `path`.pub; returns the public key of 64 bytes. Raises CliError where it is there already."""
    if path.exists() and not force:
        raise CliError(f"{path} is there already", hint="A key that is overwritten is gone. Name another file.")
    private_dir(path.absolute().parent)
    key = ec.generate_private_key(ec.SECP256R1())
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        locked = serialization.BestAvailableEncryption(password.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    write_atomic(path, pem, SECRET)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_atomic(public_path(path), key.public_key().public_bytes(serialization.Encoding.PEM, form), PUBLIC)
    return trust_codec.public_bytes(key.public_key())


def public_path(path: Path) -> Path:
    """Where the public half of a key file is."""
    return path.with_name(f"{path.name}.pub")


def locked(path: Path) -> bool:
    """Whether the key file needs a password."""
    try:
        serialization.load_pem_private_key(_read(path), None)
    except TypeError:
        return True
    except ValueError:
        return False  # `load` says what it is
    return False


def load(path: Path, password: str = "") -> ec.EllipticCurvePrivateKey:
    """The private key; raises CliError where it cannot be read, UsageError where the password is wrong or missing."""
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password.encode() or None)
    except TypeError as e:
        raise UsageError(f"{path}: {e}", hint="Give --password-file, or none for a key without one.") from e
    except ValueError as e:
        raise UsageError(f"{path} is not a key, or the password is wrong") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{path} is not a key on P-256")
    return key


def load_public(path: Path) -> bytes:
    """The 64 bytes of a public key, from FILE.pub or from FILE whose FILE.pub is beside it."""
    if path.suffix != ".pub" and public_path(path).exists():
        path = public_path(path)
    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError as e:
        raise UsageError(f"{path} is not a public key") from e
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{path} is not a key on P-256")
    return trust_codec.public_bytes(key)


def load_publics(paths: Sequence[Path]) -> list[bytes]:
    """Several of them, each once."""
    found = [load_public(path) for path in paths]
    if len({trust.key_id(key) for key in found}) != len(found):
        raise UsageError("a key is named twice for one role")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise CliError(f"cannot read {path}: {e.strerror}") from e
