"""Output of `ygg ota rollout`: live bars, one line, data; and the syntax of waves and limits."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ygg.cli.ota_rollout import matching_release, parse_limit, parse_waves
from ygg.cli.ota_shown import line, panel, rollout_data
from ygg.exits import UsageError
from yggdrasil.ota.v1 import release_pb2
from yggdrasil.ota.v1 import rollout_pb2 as pb


def running() -> pb.Rollout:
    counts = pb.RolloutCounts(total=20, waiting=10, downloading=3, trial=1, confirmed=5, reverted=1)
    spec = pb.RolloutSpec(release_id="r", waves=[pb.Wave(count=2), pb.Wave(percent=50), pb.Wave(percent=100)])
    return pb.Rollout(
        id="r-1",
        spec=spec,
        version="2.0.0\x1b[31m",
        state=pb.ROLLOUT_STATE_RUNNING,
        wave=1,
        wave_target=10,
        halt_at=2,
        counts=counts,
        downloaded_bytes=300,
        download_bytes=1200,
    )


def shown(rollout: pb.Rollout) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=True, color_system=None).print(panel(rollout))
    return [each.rstrip() for each in out.getvalue().splitlines()]


def test_a_bar_for_each_wave_and_one_for_the_bytes() -> None:
    head, first, second, third, loaded, tail = shown(running())
    assert head.startswith("r-1  → 2.0.0")
    assert "wave 2 of 3" in head
    assert first.startswith("  wave 1")
    assert first.endswith("2/2")
    assert second.startswith("▸ wave 2")
    assert second.endswith("6/10")
    assert third.endswith("6/20")
    assert loaded.endswith("300/1200")
    assert "5 confirmed · 1 trial · 3 downloading · 10 waiting · 1 reverted" in tail
    assert "failures 1/10, halts at 2" in tail


def test_bars_grow() -> None:
    before = running()
    after = running()
    after.counts.confirmed, after.counts.waiting, after.downloaded_bytes = 9, 6, 900
    assert shown(before) != shown(after)
    assert shown(after)[2].endswith("10/10")


def test_external_text_cannot_control_terminal() -> None:
    assert "\x1b[31m" not in "".join(shown(running()))
    assert "\x1b" not in line(running())


def test_timeout_and_stop_have_distinct_texts() -> None:
    rollout = running()
    rollout.counts.timed_out, rollout.counts.stopped, rollout.counts.late = 2, 3, 4
    rollout.acknowledged_failures = 1
    assert "1 reverted · 2 timed out · 3 stopped · 4 late   failures 3/10, halts at 3" in line(rollout)
    rollout.final = True
    assert "halts" not in line(rollout)


def test_a_version_of_several_releases_is_named_by_digest() -> None:
    releases = [release_pb2.Release(id="a" * 64, sequence=7), release_pb2.Release(id="b" * 64, sequence=9)]
    assert matching_release("sim@1.0.0", releases[:1]) == "a" * 64
    with pytest.raises(UsageError, match=r"2 releases: aaaaaaaaaaaa \(sequence 7\), bbbbbbbbbbbb \(sequence 9\)"):
        matching_release("sim@1.0.0", releases)
    with pytest.raises(UsageError, match="not found"):
        matching_release("sim@1.0.0", [])


def test_data_for_programs() -> None:
    data = rollout_data(running())
    assert (data["state"], data["wave"], data["waves"], data["counts"]["confirmed"]) == ("running", 1, 3, 5)


def test_waves_and_limits_as_people_type_them() -> None:
    assert parse_waves("2, 25%,100%") == [(2, 0), (0, 25), (0, 100)]
    assert parse_waves("2") == [(2, 0), (0, 100)]  # the last one is always all
    assert (parse_limit("10%"), parse_limit("3")) == ((0, 10), (3, 0))
    for text in ("", "0", "x", "5%%", "-1", "1,,2"):
        with pytest.raises(UsageError):
            parse_waves(text)
    for text in ("", "0%", "ten"):
        with pytest.raises(UsageError):
            parse_limit(text)
