"""Files that must never be half written or readable by others, and text files of people.

Owns modes and atomicity (write beside, fsync, rename), and how text is read. Does not know what is in the files.
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
    """Make `path` and what is missing above it, each with mode 0700; what exists keeps its mode."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for directory in reversed(missing):
        directory.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        directory.chmod(PRIVATE_DIR)  # mkdir's mode is cut by the umask, chmod's is not
    return path


def write_atomic(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Put `data` at `path` so that a reader sees the old file or the new one, never a part; idempotent.

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
    """What is in a file that a person named, or in standard input for `-`. Raises UsageError."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder") from None
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}") from e


def read_text(path: Path | str) -> str:
    """The text of such a file, with LF and without a byte order mark. Raises UsageError."""
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
    """Hold an exclusive lock on the file `path`, made where missing; waits for whoever has it."""
    with path.open("a") as stream:
        path.chmod(SECRET)
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
