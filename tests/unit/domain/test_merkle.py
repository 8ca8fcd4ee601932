"""The tree over chunks: every path proves its chunk, and nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import merkle


def reference_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + reference_root(leaves[:k]) + reference_root(leaves[k:])).digest()


@given(st.integers(1, 70), st.integers(1, 9), st.data())
def test_each_chunk_fits_with_its_own_path_only(count: int, last: int, data: st.DataObject) -> None:
    image = bytes(i % 251 for i in range((count - 1) * 16 + last))
    tree = merkle.Tree.of(image, 16)
    found = merkle.chunks(image, 16)
    assert tree.root == reference_root([merkle.leaf(chunk) for chunk in found])
    index = data.draw(st.integers(0, count - 1))
    path = tree.path(index)
    assert merkle.fits(tree.root, found[index], index, count, path)
    assert not merkle.fits(tree.root, found[index] + b"x", index, count, path)
    assert not merkle.fits(tree.root, found[index], index + 1, count, path)
    assert not merkle.fits(tree.root, found[index], index, count, [*path, b"\x00" * 32])
    if path:
        assert not merkle.fits(tree.root, found[index], index, count, path[:-1])
        assert not merkle.fits(tree.root, found[index], index, count, [bytes(32), *path[1:]])


def test_a_node_is_never_taken_for_a_chunk() -> None:
    tree = merkle.Tree.of(bytes(64), 32)
    inner = merkle.leaf(bytes(32)) * 2
    assert not merkle.fits(tree.root, inner, 0, 1, [])


def test_overlong_path_is_refused_without_hashing() -> None:
    assert not merkle.fits(bytes(32), b"x", 0, 1 << 30, [bytes(32)] * 17)


def test_nothing_has_no_tree() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merkle.Tree([])
