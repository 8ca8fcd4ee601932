"""Lines of devices to register."""

from __future__ import annotations

import pytest

from ygg.bulk import Line, parse_line
from ygg.exits import UsageError
from yggdrasil.registry.v1 import registry_pb2 as rp


@pytest.mark.parametrize(
    ("line", "device_id", "labels", "state"),
    [
        ("shed-1", "shed-1", {"a": "1"}, rp.DEVICE_STATE_PENDING),
        ('"shed-1"', "shed-1", {"a": "1"}, rp.DEVICE_STATE_PENDING),
        ('{"id": "shed-1"}', "shed-1", {"a": "1"}, rp.DEVICE_STATE_PENDING),
        ('{"id": "x", "labels": {"a": "2", "b": "3"}}', "x", {"a": "2", "b": "3"}, rp.DEVICE_STATE_PENDING),
        ('{"id": "x", "state": "active"}', "x", {"a": "1"}, rp.DEVICE_STATE_ACTIVE),
        ("Not An Id", "Not An Id", {"a": "1"}, rp.DEVICE_STATE_PENDING),  # the registry reports the fault
    ],
)
def test_a_line_is_a_device(line: str, device_id: str, labels: dict[str, str], state: int) -> None:
    found = parse_line(Line(1, line), {"a": "1"}, pending=True)
    assert (found.device_id, dict(found.labels), found.state) == (device_id, labels, state)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "{}",
        '{"id": 5}',
        '{"id": "x", "label": {}}',
        '{"id": "x", "labels": {"a": 1}}',
        '{"id": "x", "state": "?"}',
    ],
)
def test_invalid_device_names_its_line(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(Line(7, line), {}, pending=False)
    assert "line 7" in caught.value.message
