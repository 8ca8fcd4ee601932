"""Merkle tree over the chunks of an image: root, audit paths, and the check of one chunk as on the device.

RFC 9162, section 2.1, with SHA-256. Pure. The tree keeps the digests of all nodes, about 64 bytes per chunk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

DIGEST_BYTES = 32
MAX_PATH = 16
"""Maximum number of digests in an audit path, for 65536 chunks."""


def leaf(chunk: bytes) -> bytes:
    """Return the digest of a chunk."""
    return hashlib.sha256(b"\x00" + chunk).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def chunks(data: bytes, size: int) -> list[bytes]:
    """Yield `data` in chunks of `size` bytes; the last one may be shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


class Tree:
    """Build the tree over the digests of chunks, at least one."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise ValueError("a tree has at least one leaf")
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            level = [_node(*below[i : i + 2]) for i in range(0, len(below) - 1, 2)]
            # RFC 9162 splits at the largest power of two: a node without a sibling moves up unchanged.
            self._levels.append([*level, below[-1]] if len(below) % 2 else level)

    @classmethod
    def of(cls, data: bytes, chunk_size: int) -> Tree:
        """Build the tree over `data`, at least one byte."""
        return cls([leaf(chunk) for chunk in chunks(data, chunk_size)])

    @property
    def root(self) -> bytes:
        """Return the root digest."""
        return self._levels[-1][0]

    def path(self, index: int) -> list[bytes]:
        """Return the audit path of chunk `index`: siblings from the leaf upwards."""
        found = []
        for level in self._levels[:-1]:
            if (sibling := index ^ 1) < len(level):
                found.append(level[sibling])
            index >>= 1
        return found


def fits(root: bytes, chunk: bytes, index: int, count: int, path: Sequence[bytes]) -> bool:
    """Return whether the chunk is number `index` of `count` under `root` (RFC 9162, section 2.1.3.2), in one digest of
    state.
    """
    if not 0 <= index < count or len(path) > MAX_PATH:
        return False
    node, position, last = leaf(chunk), index, count - 1
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = _node(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = _node(node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and node == root
