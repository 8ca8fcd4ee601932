"""Signing key files: PKCS#8 PEM with mode 0600, optionally encrypted, and the public key beside it.

Owns the files; `ygg.ota.metadata` signs. A name without a directory is a key in $YGG_HOME/keys, so that keys do not
end up in the working directory. A path that git could commit is rejected.
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
    """Write `path` and `path`.pub; return the public key (64 bytes). Raises CliError if the file exists."""
    if path.exists() and not force:
        raise CliError(f"{path} already exists", hint="An overwritten key is lost. Choose another file name.")
    if path.absolute().parent != folder():
        _check_not_committed(path.absolute())
    private_dir(path.absolute().parent)
    key = ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    write_atomic(path, pem, SECRET)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_atomic(public_path(path), key.public_key().public_bytes(serialization.Encoding.PEM, form), PUBLIC)
    return trust_codec.public_bytes(key.public_key())


def folder() -> Path:
    """Return the directory of keys named without a directory."""
    return Home.find().path / "keys"


def new_path(path: Path) -> Path:
    """Return the path for a new key; an existing file in the working directory keeps its path, and is then rejected."""
    return _in_folder(path) if not path.exists() else path


def located(path: Path) -> Path:
    """Return the path of a key or public key: in the working directory, else in $YGG_HOME/keys."""
    inside = _in_folder(path)
    use_inside = not path.exists() and (inside.exists() or public_path(inside).exists())
    return inside if use_inside else path


def _in_folder(path: Path) -> Path:
    return folder() / path if len(path.parts) == 1 else path


def _check_not_committed(path: Path) -> None:
    tree = next((parent for parent in path.parents if (parent / ".git").exists()), None)
    if tree is None or _ignored(tree, path):
        return
    raise UsageError(
        f"{path} is inside the git work tree {tree} and could be committed",
        hint=f"Pass a name without a directory, to store it in {folder()}, or a path outside the work tree.",
    )


def _ignored(tree: Path, path: Path) -> bool:
    try:
        return subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=tree, check=False).returncode == 0
    except OSError:
        return False


def public_path(path: Path) -> Path:
    """Return the path of the public key of a key file."""
    return path.with_name(f"{path.name}.pub")


def is_encrypted(path: Path) -> bool:
    """Return whether the key file is encrypted."""
    try:
        serialization.load_pem_private_key(_read(located(path)), None)
    except TypeError:
        return True
    except ValueError:
        return False  # `load` reports the error
    return False


def load(path: Path, password: str = "") -> ec.EllipticCurvePrivateKey:
    """Return the private key. Raises CliError if unreadable, UsageError if the password is wrong or missing."""
    path = located(path)
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password.encode() or None)
    except TypeError as e:
        raise UsageError(f"{path}: {e}", hint="Pass --password-file only for an encrypted key.") from e
    except ValueError as e:
        raise UsageError(f"{path} is not a private key, or the password is wrong") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{path} is not a P-256 key")
    return key


def load_public(path: Path) -> bytes:
    """Return a public key (64 bytes) from FILE.pub, or from FILE with FILE.pub beside it."""
    path = located(path)
    if path.suffix != ".pub" and public_path(path).exists():
        path = public_path(path)
    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError as e:
        raise UsageError(f"{path} is not a public key") from e
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{path} is not a P-256 key")
    return trust_codec.public_bytes(key)


def load_publics(paths: Sequence[Path]) -> list[bytes]:
    """Return the public keys of several files. Raises UsageError for a duplicate."""
    publics = [load_public(path) for path in paths]
    if len({trust.key_id(key) for key in publics}) != len(publics):
        raise UsageError("duplicate key for one role")
    return publics


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise CliError(f"cannot read {path}: {e.strerror}") from e
