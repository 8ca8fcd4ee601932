"""Signing keys as files: PKCS#8 PEM, 0600, with a password where one is given; the public half beside it.

Owns what is on the disk. What is signed is `ygg.ota.metadata`. A name without a folder is a key in $YGG_HOME/keys, so
that keys do not end up in whichever folder one is in; a folder that git would commit is refused.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis import trust_codec
from services.domain import trust
from ygg.exits import CliError, UsageError
from ygg.files import PUBLIC, SECRET, private_dir, write_atomic
from ygg.home import Home


def generate(path: Path, password: str = "", *, force: bool = False) -> bytes:
    """Writes `path` and `path`.pub; returns the public key of 64 bytes. Raises CliError where it is there already."""
    if path.exists() and not force:
        raise CliError(f"{path} is there already", hint="A key that is overwritten is gone. Name another file.")
    if path.absolute().parent != folder():
        _check_not_committed(path.absolute())
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


def folder() -> Path:
    """Where keys are that are named without a folder."""
    return Home.find().path / "keys"


def new_path(path: Path) -> Path:
    """Where a new key of that name is written: a file that is there already is not hidden by another."""
    return _in_folder(path) if not path.exists() else path


def found(path: Path) -> Path:
    """The key or public key file of that name: in the current folder, else in $YGG_HOME/keys."""
    inside = _in_folder(path)
    there = not path.exists() and (inside.exists() or public_path(inside).exists())
    return inside if there else path


def _in_folder(path: Path) -> Path:
    return folder() / path if len(path.parts) == 1 else path


def _check_not_committed(path: Path) -> None:
    tree = next((parent for parent in path.parents if (parent / ".git").exists()), None)
    if tree is None or _ignored(tree, path):
        return
    raise UsageError(
        f"{path} is in the git work tree {tree}, where it may be committed",
        hint=f"Give a name without a folder, to keep it in {folder()}, or a folder outside.",
    )


def _ignored(tree: Path, path: Path) -> bool:
    try:
        return subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=tree, check=False).returncode == 0
    except OSError:
        return False


def public_path(path: Path) -> Path:
    """Where the public half of a key file is."""
    return path.with_name(f"{path.name}.pub")


def locked(path: Path) -> bool:
    """Whether the key file needs a password."""
    try:
        serialization.load_pem_private_key(_read(found(path)), None)
    except TypeError:
        return True
    except ValueError:
        return False  # `load` says what it is
    return False


def load(path: Path, password: str = "") -> ec.EllipticCurvePrivateKey:
    """The private key; raises CliError where it cannot be read, UsageError where the password is wrong or missing."""
    path = found(path)
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
    path = found(path)
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
    publics = [load_public(path) for path in paths]
    if len({trust.key_id(key) for key in publics}) != len(publics):
        raise UsageError("a key is named twice for one role")
    return publics


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise CliError(f"cannot read {path}: {e.strerror}") from e
