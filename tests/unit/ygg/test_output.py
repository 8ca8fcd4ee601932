"""Numbers as people say them."""

from __future__ import annotations

import pytest

from ygg.output import counted, size


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 devices"), (1, "1 device"), (2, "2 devices"), (12_345, "12,345 devices")]
)
def test_a_count_agrees_with_its_noun(count: int, text: str) -> None:
    assert counted(count, "device") == text


def test_an_irregular_plural_is_given() -> None:
    assert (counted(1, "entry", "entries"), counted(2, "entry", "entries")) == ("1 entry", "2 entries")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (8_000_000_000, "8.0 GB"),
    ],
)
def test_a_size_is_never_zero_of_a_larger_unit(count: int, text: str) -> None:
    assert size(count) == text
