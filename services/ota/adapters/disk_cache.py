"""Images on the local disk: bounded in bytes, filled atomically, verified against their digest.

    <directory>/<sha256>          a complete image, 0600
    <directory>/.<random>.part    one being written; removed at start and on failure

The bound includes files being written. Files of an earlier process are verified on first read. A file that is evicted
during a read stays readable until its reader closes it. All methods belong to one event loop; reading, writing and
hashing run in threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.chassis.threads import in_thread
from services.ota.errors import CacheFullError, CorruptImageError
from services.ota.model import Header

_SUFFIX = ".part"
_IMAGE = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(slots=True)
class _Entry:
    size: int
    checked: bool


@dataclass(slots=True)
class Filling:
    """An image being written; part of the cache only after `commit`."""

    header: Header
    path: Path
    fd: int
    written: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    committed: bool = False

    @property
    def whole(self) -> bool:
        """Whether all bytes are written and match the digest."""
        return self.written == self.header.size_bytes and self.digest.hexdigest() == self.header.sha256

    async def write(self, data: bytes) -> None:
        """Append; raises CacheFullError if the disk fails, CorruptImageError for excess bytes."""
        if self.written + len(data) > self.header.size_bytes:
            raise CorruptImageError(self.header.sha256, "it has more bytes than announced")
        self.written += len(data)
        with _disk():
            await in_thread(self._append, data)

    def _append(self, data: bytes) -> None:
        self.digest.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]


class DiskCache:
    """The cache. Created by `open`."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._used = 0

    @classmethod
    def open(cls, directory: Path, max_bytes: int) -> DiskCache:
        """Create the directory if missing (0700) and load its entries; raises OSError."""
        cache = cls(directory, max_bytes)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        for path in sorted(directory.iterdir(), key=lambda p: p.stat().st_mtime):
            if path.name.startswith(".") and path.name.endswith(_SUFFIX):
                path.unlink()
            elif _IMAGE.match(path.name) and path.is_file():
                cache._admit(path.name, path.stat().st_size, checked=False)
        cache._make_room(0)
        return cache

    @property
    def used_bytes(self) -> int:
        """Bytes in use, files being written included."""
        return self._used

    @contextlib.asynccontextmanager
    async def filling(self, header: Header) -> AsyncIterator[Filling]:
        """Provide a file to write the image to; deleted at the end unless committed. Raises CacheFullError."""
        if not self._make_room(header.size_bytes):
            raise CacheFullError("active downloads use all of it")
        self._used += header.size_bytes
        try:
            with _disk():
                filling = self._new_file(header)
            try:
                yield filling
            finally:
                os.close(filling.fd)
                if not filling.committed:
                    filling.path.unlink(missing_ok=True)
        finally:
            self._used -= header.size_bytes
            self._make_room(0)

    async def commit(self, filling: Filling) -> None:
        """Add the image to the cache.

        Raises CorruptImageError if its bytes do not match its digest, CacheFullError if the disk fails.
        """
        if not filling.whole:
            raise CorruptImageError(filling.header.sha256, f"its {filling.written} bytes do not match digest and size")
        with _disk():
            await in_thread(os.fsync, filling.fd)
            filling.path.replace(self._directory / filling.header.sha256)
        filling.committed = True
        self._forget(filling.header.sha256)
        self._admit(filling.header.sha256, filling.header.size_bytes, checked=True)

    async def reader(self, header: Header) -> int | None:
        """Return a file descriptor for reading, which the caller closes; None if the image is not cached intact."""
        entry = self._entries.get(header.sha256)
        if entry is None:
            return None
        path = self._directory / header.sha256
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._forget(header.sha256)
            return None
        try:
            if entry.size == header.size_bytes and (entry.checked or await in_thread(_digest, fd) == path.name):
                entry.checked = True
                if header.sha256 in self._entries:
                    self._entries.move_to_end(header.sha256)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        self.drop(header.sha256)
        return None

    def drop(self, sha256: str) -> None:
        """Remove the image, if cached."""
        if sha256 in self._entries:
            self._forget(sha256)
            (self._directory / sha256).unlink(missing_ok=True)

    def _new_file(self, header: Header) -> Filling:
        fd, name = tempfile.mkstemp(prefix=".", suffix=_SUFFIX, dir=self._directory)  # 0600 by definition
        return Filling(header, Path(name), fd)

    def _make_room(self, size: int) -> bool:
        while self._used + size > self._max_bytes and self._entries:
            self.drop(next(iter(self._entries)))
        return self._used + size <= self._max_bytes

    def _admit(self, sha256: str, size: int, *, checked: bool) -> None:
        self._entries[sha256] = _Entry(size, checked)
        self._used += size

    def _forget(self, sha256: str) -> None:
        if entry := self._entries.pop(sha256, None):
            self._used -= entry.size


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise CacheFullError(e.strerror or str(e)) from e


def _digest(fd: int) -> str:
    with os.fdopen(os.dup(fd), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
