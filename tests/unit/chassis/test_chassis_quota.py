"""How large a stream becomes."""

import pytest

from services.chassis.quota import DEFAULT_STORE_BYTES, GIB, MIN_STREAM_BYTES, StreamQuota


@pytest.mark.parametrize(
    ("quota", "store", "size"),
    [
        (StreamQuota(0.4, 8 * GIB), 10 * GIB, 4 * GIB),
        (StreamQuota(0.4, 8 * GIB), 100 * GIB, 8 * GIB),
        (StreamQuota(0.4, 8 * GIB), None, int(0.4 * DEFAULT_STORE_BYTES)),
        (StreamQuota(0.4, 8 * GIB), 0, MIN_STREAM_BYTES),
        (StreamQuota(0.4, 8 * GIB, 9 * GIB), 10, 9 * GIB),
        (StreamQuota(0.5), 10 * GIB, 5 * GIB),
    ],
)
def test_room_is_a_share_of_the_store_unless_it_is_set(quota: StreamQuota, store: int | None, size: int) -> None:
    assert quota.of(store) == size


def test_stream_shares_leave_part_of_store_free() -> None:
    from services.jotunheim_bridge.adapters import events
    from services.ota.adapters import events as ota_events
    from services.ota.adapters import nats_objects, nats_parts

    assert (
        events.STORE_FRACTION + ota_events.STORE_FRACTION + nats_objects.STORE_FRACTION + nats_parts.STORE_FRACTION
        <= 0.86
    )
