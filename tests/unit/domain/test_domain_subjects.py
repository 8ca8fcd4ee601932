"""Subjects: messages go to their subject, and no id can escape its token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import subjects
from services.domain.errors import InvalidIdError
from services.domain.subjects import Kind
from tests.fixtures.strategies import device_ids, member_ids

HOSTILE = ["", "*", ">", "a.b", "a b", "a\tb", "a\r\nPUB x", "a.*", "a.>", "$SYS", "$JS", "A", "é"]


def matches(pattern: str, subject: str) -> bool:
    """NATS: `*` is one token, `>` is one or more at the end."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for at, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > at
        if at >= len(tokens) or token not in ("*", tokens[at]):
            return False
    return len(wanted) == len(tokens)


def test_the_subjects_are_as_written_down() -> None:
    assert subjects.device("porch-1", Kind.ONLINE) == "ygg.v1.main.device.porch-1.online"
    assert subjects.device("porch-1", Kind.EVENT, "temp0", "over") == "ygg.v1.main.device.porch-1.event.temp0.over"
    assert subjects.loki("blink", "message", "topic") == "ygg.v1.main.loki.blink.message.topic"
    assert subjects.bridge("bridge-1", "invoke") == "ygg.v1.bridge.bridge-1.invoke"
    assert subjects.device_filter() == "ygg.v1.main.device.*.>"
    assert subjects.device_filter("porch-1", Kind.EVENT) == "ygg.v1.main.device.porch-1.event.>"
    assert subjects.device_filter(kind=Kind.OFFLINE) == "ygg.v1.main.device.*.offline"


@given(device_ids, st.sampled_from(Kind), st.lists(member_ids, max_size=3))
def test_every_token_of_subject_is_preserved(device: str, kind: Kind, names: list[str]) -> None:
    subject = subjects.device(device, kind, *names)
    assert subject.split(".") == ["ygg", "v1", "main", "device", device, kind.value, *names]
    assert matches(subjects.ALL_DEVICES, subject)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_id_smuggles_in_a_wildcard_or_another_token(hostile: str) -> None:
    attempts: list[Callable[[], str]] = [
        lambda: subjects.device(hostile, Kind.ONLINE),
        lambda: subjects.device("porch-1", Kind.EVENT, hostile),
        lambda: subjects.device("porch-1", Kind.EVENT, "temp0", hostile),
        lambda: subjects.device("porch-1", Kind.ONLINE, tenant=hostile),
        lambda: subjects.device_filter(hostile),
        lambda: subjects.device_filter(tenant=hostile),
        lambda: subjects.loki(hostile, "message"),
        lambda: subjects.loki("blink", hostile),
        lambda: subjects.loki("blink", "message", hostile),
        lambda: subjects.loki("blink", "message", tenant=hostile),
        lambda: subjects.bridge(hostile, "invoke"),
        lambda: subjects.bridge("bridge-1", hostile),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidIdError):
            attempt()


@given(device_ids, device_ids, st.sampled_from(Kind), st.sampled_from(Kind), member_ids, member_ids)
def test_a_filter_catches_its_own_and_no_other(
    mine: str, other: str, kind: Kind, another: Kind, capability: str, name: str
) -> None:
    def subject(device: str, of: Kind) -> str:
        named = (capability, name) if of in (Kind.EVENT, Kind.TELEMETRY) else ()
        return subjects.device(device, of, *named)

    assert matches(subjects.device_filter(mine, kind), subject(mine, kind))
    assert matches(subjects.device_filter(mine), subject(mine, kind))
    assert matches(subjects.device_filter(kind=kind), subject(mine, kind))
    assert matches(subjects.device_filter(mine, kind), subject(other, kind)) is (mine == other)
    assert matches(subjects.device_filter(mine, kind), subject(mine, another)) is (kind is another)
