"""A StoredDevice as the index needs it, read from its bytes: state, labels, and the fields of a Device.

Both messages have the same fields under different numbers below 16, so with tags of one byte: changing the tags
converts one into the other. That rebuilds a million records in half the time of decoding and encoding them. Records
that are not laid out as `records` writes them go through protobuf. Source: protobuf encoding, "Message Structure".
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.requests import check_times, is_time
from yggdrasil.registry.v1 import registry_pb2 as pb

Shown = tuple[int, list[bytes], bytes]
"""State, labels (each as the bytes of a map entry), and a Device without revision, contract and presence."""

_SCHEMA, _ID, _STATE, _LABEL, _CREATED, _REVOKED = 0x08, 0x12, 0x18, 0x22, 0x2A, 0x32
_DEVICE_ID, _DEVICE_STATE, _DEVICE_LABEL, _DEVICE_CREATED, _DEVICE_REVOKED = 0x0A, 0x10, 0x1A, 0x62, 0x6A
_TIMES = {_CREATED: _DEVICE_CREATED, _REVOKED: _DEVICE_REVOKED}
_SHORT = 0x80
"""Shorter lengths take one byte."""


def shown(data: bytes) -> Shown:
    """Return the row of a StoredDevice's bytes."""
    try:
        return _read(data) or _decoded(data)
    except IndexError:
        return _decoded(data)


def _read(data: bytes) -> Shown | None:
    """Return None unless the bytes have the order and sizes that `records` writes."""
    out, labels = bytearray(data), list[bytes]()
    if out[0] != _SCHEMA or out[1] >= _SHORT or out[2] != _ID or out[3] >= _SHORT:
        return None
    out[2] = _DEVICE_ID
    at = 4 + out[3]
    if out[at] != _STATE or out[at + 1] >= _SHORT:
        return None
    out[at] = _DEVICE_STATE
    state, at, end = out[at + 1], at + 2, len(out)
    while at < end:
        tag, size = out[at], out[at + 1]
        if size >= _SHORT:
            return None
        if tag == _LABEL:
            out[at] = _DEVICE_LABEL
            labels.append(data[at + 2 : at + 2 + size])
        elif tag in _TIMES and is_time(Timestamp.FromString(data[at + 2 : at + 2 + size])):
            out[at] = _TIMES[tag]
        else:
            return None
        at += 2 + size
    return (state, labels, bytes(out[2:])) if at == end else None


def _decoded(data: bytes) -> Shown:
    stored = pb.StoredDevice.FromString(data)
    check_times(stored)
    device = pb.Device(id=stored.id, state=stored.state, labels=stored.labels, create_time=stored.create_time)
    if stored.HasField("revoke_time"):
        device.revoke_time.CopyFrom(stored.revoke_time)
    labels = [label_bytes(key, value) for key, value in stored.labels.items()]
    return stored.state, labels, device.SerializeToString(deterministic=True)


def label_bytes(key: str, value: str) -> bytes:
    """Return the map entry of a label; key and value are at most 63 bytes each."""
    return b"\x0a%c%b\x12%c%b" % (len(key), key.encode(), len(value), value.encode())


def label_of(entry: bytes) -> tuple[str, str]:
    """Return the key and the value of a map entry."""
    ((key, value),) = pb.Device.FromString(b"\x1a%c%b" % (len(entry), entry)).labels.items()
    return key, value
