"""Devices, contracts and events in words: nothing that a device says can drive the terminal."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.codec import value_to_proto
from ygg import describe
from ygg.cli import select
from ygg.exits import UsageError
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import contract_pb2 as kp
from yggdrasil.jotunheim.v1 import bridge_pb2 as bp
from yggdrasil.registry.v1 import registry_pb2 as rp

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def before(**delta: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOW - timedelta(**delta))
    return stamp


def contract() -> kp.Contract:
    percent = cp.DataSchema(type=cp.VALUE_TYPE_INT, unit="%", minimum=0, maximum=100)
    times = cp.Parameter(name="times", schema=cp.DataSchema(type=cp.VALUE_TYPE_INT, minimum=1, maximum=20))
    count = cp.Parameter(name="count", schema=cp.DataSchema(type=cp.VALUE_TYPE_INT))
    led = cp.Capability(
        id="led0",
        type="actuator.led",
        version=1,
        properties=[cp.Property(name="brightness", schema=percent, readable=True, writable=True)],
        actions=[cp.Action(name="blink", arguments=[times], results=[count])],
        events=[cp.Event(name="worn")],
    )
    siren = kp.Refusal(
        capability_id="siren0", type="actuator.siren", version=1, reason=kp.REFUSAL_REASON_POLICY, message="no sirens"
    )
    return kp.Contract(
        device_id="porch-1",
        revision=3,
        digest="9f2c" * 16,
        capabilities=[led],
        refused=[siren],
        link=kp.LinkTerms(protocol=1, device_rx_frame_bytes=1024, calls_in_flight=2, heartbeat_ms=1000),
        negotiate_time=before(minutes=2),
        policy="demo",
    )


def test_a_contract_in_words() -> None:
    head, blank, led, siren = describe.contract_lines(contract(), NOW)
    assert head == (
        "contract 3 (sha256:9f2c9f2c9f2c…)   negotiated 2 min ago   einherjar 1   frames 1024 B   "
        "2 calls in flight   policy demo"
    )
    assert blank == ""
    assert led == "led0   actuator.led@1   brightness: 0…100 % rw   blink(times 1…20) → count int   event worn()"
    assert siren == "refused siren0 (actuator.siren@1): no sirens"


def test_a_contract_for_programs_keeps_types_and_bounds() -> None:
    data = describe.contract_json(contract())
    blink = data["capabilities"][0]["actions"][0]
    assert blink["arguments"] == [
        {"name": "times", "type": "int", "unit": "", "minimum": 1, "maximum": 20, "optional": False}
    ]
    assert data["refused"][0]["reason"] == "policy"
    assert data["link"]["device_rx_frame_bytes"] == 1024


def test_a_device_that_went_away_and_one_that_never_came() -> None:
    gone = rp.Device(id="porch-2", state=rp.DEVICE_STATE_ACTIVE, labels={"zone": "hall", "floor": "2"})
    gone.presence.since.CopyFrom(before(minutes=4))
    assert describe.device_row(gone, NOW) == ("porch-2", "offline", "4 min", "-", "-", "-", "floor=2 zone=hall")
    never = rp.Device(id="porch-3", state=rp.DEVICE_STATE_SUSPENDED)
    assert describe.device_row(never, NOW)[1:3] == ("suspended", "never")


@pytest.mark.parametrize("state", ["SUSPENDED", "RETIRED", "PENDING"])
def test_device_that_may_not_connect_is_not_offline(state: str) -> None:
    device = rp.Device(id="porch-1", state=rp.DeviceState.Value(f"DEVICE_STATE_{state}"))
    assert describe.device_state(device) == state.lower()
    device.presence.online = True
    assert describe.device_state(device) == f"{state.lower()}, still online"


def test_device_is_revoked_until_it_was_online_again() -> None:
    device = rp.Device(id="porch-1", state=rp.DEVICE_STATE_ACTIVE, revoke_time=before(hours=1))
    assert describe.device_state(device) == "revoked"
    device.presence.since.CopyFrom(before(minutes=59, seconds=59))  # the bridge ended its session
    assert describe.device_state(device) == "revoked"
    device.presence.since.CopyFrom(before(minutes=30))  # it had a new certificate, and disconnected
    assert describe.device_state(device) == "offline"
    device.presence.online = True
    assert describe.device_state(device) == "online"


def test_text_of_device_is_made_printable() -> None:
    device = rp.Device(id="porch-1", firmware_version="1.0\x1b]0;pwned\x07", state=rp.DEVICE_STATE_ACTIVE)
    hostile = contract()
    hostile.refused[0].message = "\x1b[2J\n\x9b31m"
    event = bp.DeviceEvent(device_id="porch-1", kind=bp.EVENT_KIND_EVENT, capability="c", name="n")
    event.fields["text"].CopyFrom(value_to_proto("a\x1b[31m\r\nb"))
    shown = "".join([*describe.device_row(device, NOW), *describe.contract_lines(hostile, NOW)])
    shown += describe.event_line(event)
    assert all(c.isprintable() for c in shown)


def test_events_in_one_line() -> None:
    event = bp.DeviceEvent(
        device_id="porch-1", kind=bp.EVENT_KIND_EVENT, capability="temp0", name="over", dropped=2, sequence=7
    )
    event.fields["celsius"].CopyFrom(value_to_proto(80.5))
    assert describe.event_line(event) == "porch-1  temp0.over  celsius=80.5  (2 lost since boot)"
    assert describe.event_json(event)["fields"] == {"celsius": 80.5}
    gone = bp.DeviceEvent(device_id="porch-1", kind=bp.EVENT_KIND_OFFLINE, reason="timeout")
    assert describe.event_line(gone) == "porch-1  offline  timeout"
    gone.denied_state, gone.reason = "suspended", "porch-1 is suspended, not active"
    assert describe.event_line(gone) == "porch-1  suspended  porch-1 is suspended, not active"
    refused = bp.DeviceEvent(device_id="porch-1", kind=bp.EVENT_KIND_REFUSED, reason="porch-1 is retired, not active")
    assert describe.event_line(refused) == "porch-1  refused  porch-1 is retired, not active"
    back = bp.DeviceEvent(device_id="porch-1", kind=bp.EVENT_KIND_ONLINE, identity_conflict_peer="10.0.0.7:5123")
    assert describe.event_line(back) == "porch-1  online  (another device uses this identity: 10.0.0.7:5123)"
    later = bp.DeviceEvent(device_id="porch-1", kind=99)  # type: ignore[arg-type]
    assert describe.event_json(later)["kind"] == "unknown"


@pytest.mark.parametrize(("days", "words"), [(400, "expires in 400 d"), (3, "expires in 3 d"), (-2, "expired 2 d ago")])
def test_certificate_says_when_it_ends(days: int, words: str) -> None:
    device = rp.Device()
    assert describe.certificate(device, NOW) == "-"
    device.certificate_expire_time.FromDatetime(NOW + timedelta(days=days))
    assert describe.certificate(device, NOW) == words


@pytest.mark.parametrize(("text", "hours"), [("30d", 720), ("12h", 12), ("90m", 1.5)])
def test_period_is_a_number_and_a_unit(text: str, hours: float) -> None:
    assert select.period(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "30 d", "1w", "999999d"])
def test_period_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid period"):
        select.period(text)
