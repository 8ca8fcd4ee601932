"""Tables fit, and no column is narrower than its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ygg.tables import flow, layout, wrap

WORDS = st.text("abcdefgh", min_size=1, max_size=12)
CELLS = st.lists(WORDS, max_size=6).map(" ".join)
TABLES = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.lists(WORDS.map(str.upper), min_size=count, max_size=count, unique=True),
        st.lists(st.lists(CELLS, min_size=count, max_size=count), max_size=4),
    )
)


@given(TABLES, st.integers(20, 140))
def test_every_line_fits_and_every_word_is_whole(table: tuple[list[str], list[list[str]]], width: int) -> None:
    columns, rows = table
    found = layout(columns, rows, width, optional=columns[1:])
    assert all(len(line) <= max(width, 26) for line in found.lines)
    said = " ".join(found.lines).split()
    kept = [at for at, name in enumerate(columns) if name not in found.dropped]
    if found.header and len(kept) != 2:
        assert sorted(said) == sorted(
            [*(columns[at] for at in kept), *(word for row in rows for at in kept for word in row[at].split())]
        )


@given(TABLES)
def test_without_a_width_a_row_is_a_line(table: tuple[list[str], list[list[str]]]) -> None:
    columns, rows = table
    assert len(layout(columns, rows, None).lines) == 1 + len(rows)


def test_columns_go_in_the_order_given_and_are_named() -> None:
    columns, rows = ("A", "B", "C"), [("a" * 20, "b" * 20, "c" * 20)]
    assert layout(columns, rows, 70, optional=("C", "B")).dropped == ()
    assert layout(columns, rows, 50, optional=("C", "B")).dropped == ("C",)
    assert layout(columns, rows, 30, optional=("C", "B")).dropped == ("C", "B")


def test_rows_become_cards_when_no_table_fits() -> None:
    found = layout(("NAME", "NOTE", "SIZE"), [("x" * 30, "two words", "1"), ("y", "-", "")], 24)
    assert found.lines == ["NAME  " + "x" * 18, " " * 6 + "x" * 12, "NOTE  two words", "SIZE  1", "", "NAME  y"]
    assert found.header == 0


def test_a_label_and_its_value_stay_side_by_side() -> None:
    found = layout(("KEY", "x"), [("path", "y" * 30)], 26)
    assert found.lines == ["KEY   x", "path  " + "y" * 20, " " * 6 + "y" * 10]


def test_wide_characters_count_for_two() -> None:
    assert layout(("N", "M"), [("温度", "x")], 80).lines == ["N     M", "温度  x"]
    assert wrap("温度温度", 4) == ["温度", "温度"]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, ["led0   on: bool rw   off()   blink(times 1…10)"]),
        (30, ["led0   on: bool rw   off()", "    blink(times 1…10)"]),
        (12, ["led0", "    on: bool", "    rw", "    off()", "    blink(times", "    1…10)"]),
    ],
)
def test_parts_flow_into_lines(width: int | None, lines: list[str]) -> None:
    assert flow(["on: bool rw", "off()", "blink(times 1…10)"], width, first="led0") == lines


@pytest.mark.parametrize("width", [20, 60])
def test_flow_leaves_a_word_whole_that_is_longer_than_a_line(width: int) -> None:
    digest = "5f" * 32
    assert flow([f"root 3, SHA-256 {digest}"], width) == ["root 3, SHA-256", f"    {digest}"]
