"""The program that crashed a worker: a finished slice is not blamed, even if its end was not sent yet."""

from __future__ import annotations

import os

import pytest

from services.loki.adapters.slices import Slices
from services.loki.engines import slice_counter
from services.loki.engines.slice_counter import SliceCounter
from services.loki.engines.wire import WireError


@pytest.fixture
def counter() -> SliceCounter:
    fd = slice_counter.create()
    try:
        return SliceCounter(fd)
    finally:
        os.close(fd)


def test_the_slice_that_runs_is_the_first_that_has_not_ended(counter: SliceCounter) -> None:
    slices = Slices(counter)
    for turn in (4, 7, 4, 9):
        slices.begin(turn)
    assert slices.running() == 4
    counter.add()
    counter.add()
    assert slices.running() == 4  # the third; nothing was received yet
    slices.over(4)
    assert slices.running() == 4
    counter.add()
    assert slices.running() == 9
    counter.add()
    assert slices.running() == 0  # all have ended, so a crash now is blamed on no program


def test_an_end_out_of_order_is_refused(counter: SliceCounter) -> None:
    slices = Slices(counter)
    slices.begin(1)
    slices.begin(2)
    with pytest.raises(WireError, match="turn 2"):
        slices.over(2)


def test_time_counts_from_the_first_look_at_each_slice(counter: SliceCounter) -> None:
    slices = Slices(counter)
    assert slices.computes_s(10.0) == 0.0
    slices.begin(1)
    slices.begin(2)
    assert slices.computes_s(11.0) == 0.0
    assert slices.computes_s(12.5) == 1.5
    counter.add()
    assert slices.computes_s(13.0) == 0.0  # the second one runs now
    assert slices.computes_s(13.5) == 0.5
    counter.add()
    assert slices.computes_s(20.0) == 0.0
    slices.begin(3)
    assert slices.computes_s(30.0) == 0.0


def test_the_tally_of_another_map_is_the_same_and_wraps(counter: SliceCounter) -> None:
    fd = slice_counter.create()
    ours, theirs = SliceCounter(fd), SliceCounter(fd)
    os.close(fd)
    theirs.add()
    assert ours.beyond(0) == 1
    assert ours.beyond(2**32 - 1) == 2
