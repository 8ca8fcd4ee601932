"""Which refusals are published."""

from __future__ import annotations

from datetime import UTC, datetime

from services.jotunheim_bridge.service.refusals import MAX_REMEMBERED_DEVICES, REPEAT_INTERVAL_S, Refusals


class Clock:
    now_s = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic(self) -> float:
        return self.now_s


def test_refusal_is_news_once_a_minute_and_for_each_reason() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    assert refusals.should_publish("porch-1", "suspended")
    assert not refusals.should_publish("porch-1", "suspended")
    assert refusals.should_publish("porch-2", "suspended")
    assert refusals.should_publish("porch-1", "revoked")
    clock.now_s += REPEAT_INTERVAL_S
    assert refusals.should_publish("porch-1", "revoked")


def test_refusals_of_many_devices_take_bounded_memory() -> None:
    refusals = Refusals(Clock())
    for number in range(MAX_REMEMBERED_DEVICES + 1):
        assert refusals.should_publish(f"d-{number}", "suspended")
    assert not refusals.should_publish("d-1", "suspended")
    assert refusals.should_publish("d-0", "suspended"), "the one refused longest ago is forgotten"
