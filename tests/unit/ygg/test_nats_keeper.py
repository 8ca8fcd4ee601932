"""When nats-server accepts writes, and how much it may store: the rules, with no process."""

from pathlib import Path

import pytest

from ygg.mesh import nats_keeper as keeper
from ygg.mesh.nats_keeper import ENOUGH_BYTES, LOW_BYTES, LOW_FILES, Disk, Mode, budget_bytes

GB = 10**9
ROOM, FULL = Disk(GB), Disk(LOW_BYTES - 1)


def started(disk: Disk = ROOM) -> Mode:
    mode = Mode()
    mode.start(disk, 0)
    return mode


def test_mode_refuses_below_low_mark_until_high_mark() -> None:
    mode = started()
    assert not mode.changed(Disk(LOW_BYTES), False, 1)
    assert mode.changed(FULL, False, 2)
    assert not mode.accepting
    assert not mode.changed(Disk(ENOUGH_BYTES - 1), False, 3)
    assert mode.changed(Disk(ENOUGH_BYTES), False, 4)
    assert mode.accepting


def test_mode_starts_refusing_when_the_disk_is_full_already() -> None:
    assert not started(FULL).accepting


def test_mode_refuses_when_files_run_out() -> None:
    assert not started(Disk(GB, LOW_FILES - 1)).accepting


def test_mode_backs_off_when_writes_fail_although_there_is_room() -> None:
    mode, now, waits = started(), 0.0, []
    for _ in range(8):
        now += 1
        assert mode.changed(ROOM, True, now)
        refused = now
        while not mode.changed(ROOM, False, now):
            now += 1
        waits.append(now - refused)
    assert waits == [4, 8, 16, 32, 60, 60, 60, 60]
    assert mode.changed(ROOM, True, now + keeper.STEADY_S)
    assert mode.changed(ROOM, False, now + keeper.STEADY_S + keeper.FIRST_WAIT_S)


def test_mode_accepts_as_soon_as_a_full_disk_has_room() -> None:
    mode = started()
    assert mode.changed(FULL, True, 1)
    assert mode.changed(ROOM, False, 1.5)


@pytest.mark.parametrize(("free", "used", "budget"), [(2 * GB, 0, 1.5 * GB), (GB, GB, 1.5 * GB), (0, 4 * GB, 4 * GB)])
def test_budget_counts_stored_bytes_without_refusal(free: int, used: int, budget: float) -> None:
    assert budget_bytes(free, used) == budget


def test_used_bytes_are_those_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"x" * 100_000)
    assert 100_000 <= keeper.used_bytes(tmp_path) <= 110_000
    assert keeper.used_bytes(tmp_path / "missing") == 0


def test_adopt_moves_the_streams_of_the_global_account_once(tmp_path: Path) -> None:
    keeper.rename_default_account(tmp_path)
    (tmp_path / "$G" / "streams").mkdir(parents=True)
    keeper.rename_default_account(tmp_path)
    assert (tmp_path / keeper.ACCOUNT / "streams").is_dir()
    (tmp_path / "$G").mkdir()
    keeper.rename_default_account(tmp_path)
    assert (tmp_path / "$G").is_dir()


@pytest.mark.parametrize("text", ["much", "-1", "8GB", "100"])
def test_budget_variable_that_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"YGG_NATS_STORE_BYTES must be a number of bytes, at least 33554432, not"):
        keeper.budget_of({keeper.BUDGET: text})


def test_budget_variable_may_be_unset() -> None:
    assert keeper.budget_of({}) is None
    assert keeper.budget_of({keeper.BUDGET: "100000000"}) == 100_000_000
