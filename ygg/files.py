"""Write private files atomically, and read text files named on the command line.

Owns modes, atomicity (write a temporary file, fsync, rename) and decoding. Does not interpret the content.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from services.domain import text
from ygg.exits import UsageError

SECRET = 0o600
PUBLIC = 0o644
PRIVATE_DIR = 0o700


def private_dir(path: Path) -> Path:
    """Create `path` and its missing parents with mode 0700; existing directories keep their mode."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for directory in reversed(missing):
        directory.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        directory.chmod(PRIVATE_DIR)  # unlike mkdir, chmod ignores the umask
    return path


def write_atomic(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Write `data` to `path` so that readers see either the old or the new file; idempotent.

    The mode is set before the first byte is written. Raises OSError.
    """
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        os.fchmod(fd, mode)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_dir(path.parent)


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file, or of standard input for `-`. Raises UsageError."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"file not found: {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory") from None
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}") from e


def read_text(path: Path | str) -> str:
    """Return the same content as text, with LF line ends and no byte order mark. Raises UsageError."""
    data = read_bytes(path)
    try:
        return text.decode(data, "standard input" if str(path) == "-" else path)
    except text.TextError as e:
        raise UsageError(e.message, hint=e.hint) from None


def _sync_dir(path: Path) -> None:
    """Make a rename in `path` survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, created if missing; waits until it is free."""
    with path.open("a") as stream:
        path.chmod(SECRET)
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
