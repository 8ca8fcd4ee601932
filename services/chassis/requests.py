"""Parsing of requests: invalid messages, too many items and times out of range are rejected before any servicer.

Owns the checks that apply to every RPC. Each service checks the bounds of its own fields.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.domain import ids
from services.domain.errors import InvalidRequestError

MAX_ITEMS = 40_000
"""Elements of all repeated fields and maps together; a batch of 1,000 devices with 32 labels each has 33,000."""
_COUNTED_BYTES = 32 * 1024
"""A smaller message cannot contain enough items to matter, and counting would cost more than it saves."""
_NANOS_PER_S = 10**9
_TYPES = 4096
"""Cached fields and message types; those of registered scripts come and go."""
_TIMES = {
    "google.protobuf.Timestamp": (-62_135_596_800, 253_402_300_799, 0, "from 0001-01-01 to 9999-12-31"),
    "google.protobuf.Duration": (-315_576_000_000, 315_576_000_000, 1 - _NANOS_PER_S, "at most 10,000 years"),
}
"""Lowest and highest seconds and lowest nanos that the type allows, by its own comments; clients fail on others."""
Bounds = tuple[int, int, int, str]
Parse = Callable[[bytes], Any]


def parse(parse: Parse, data: bytes) -> Any:
    """Return the message; raises InvalidRequestError if it is invalid or out of bounds."""
    try:
        message = parse(data)
    except DecodeError as e:
        raise InvalidRequestError(
            "the request is not a valid message of its type", hint="The versions of client and service may differ."
        ) from e
    if isinstance(message, Message) and (len(data) <= _COUNTED_BYTES or not _count_items(message)):
        check_times(message)
    return message


async def parse_each(parse_one: Parse, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Apply `parse` to each request of a stream."""
    async for data in requests:
        yield parse(parse_one, data)


def check_times(message: Message, where: str = "") -> None:
    """Raise InvalidRequestError if any Timestamp or Duration in the message is out of its type's range."""
    for field, repeated, bounds in _time_fields(message.DESCRIPTOR):
        if not repeated and not message.HasField(field.name):
            continue
        value, path = getattr(message, field.name), f"{where}{field.name}"
        for one in _elements(field, value) if repeated else (value,):
            if bounds is None:
                check_times(one, f"{path}.")
            elif not _in_range(one, bounds):
                raise InvalidRequestError(f"{path} is out of range", hint=f"Allowed: {bounds[3]}.", field=path)


def _elements(field: FieldDescriptor, value: Any) -> Any:
    return value.values() if _is_map(field) else value


@functools.lru_cache(_TYPES)
def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


_TimeField = tuple[FieldDescriptor, bool, Bounds | None]


@functools.lru_cache(_TYPES)
def _time_fields(kind: Descriptor) -> tuple[_TimeField, ...]:
    """Return the fields of a type that are times (with their bounds) or contain times (None), and if they repeat."""
    found: list[_TimeField] = []
    for field in kind.fields:
        inner = _value_type(field)
        if inner is not None and (inner.full_name in _TIMES or _has_times(inner, frozenset())):
            found.append((field, bool(field.is_repeated), _TIMES.get(inner.full_name)))
    return tuple(found)


@functools.lru_cache(_TYPES)
def _value_type(field: FieldDescriptor) -> Descriptor | None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return kind.fields_by_name["value"].message_type
    return kind


def _has_times(kind: Descriptor, seen: frozenset[str]) -> bool:
    inner = [found for field in kind.fields if (found := _value_type(field)) is not None]
    if any(one.full_name in _TIMES for one in inner):
        return True
    seen |= {kind.full_name}
    return any(_has_times(one, seen) for one in inner if one.full_name not in seen)


def _count_items(message: Message) -> bool:
    """Count the items and return whether all times are in range, in one walk; `check_times` finds which is not."""
    left, stack, times_valid = MAX_ITEMS, [message], True
    while stack:
        for field, value in stack.pop().ListFields():
            inner = _value_type(field)
            if field.is_repeated:
                left -= len(value)
                if left < 0:
                    raise InvalidRequestError(
                        f"more than {MAX_ITEMS} items in one message, at {ids.printable(field.name)}",
                        hint="Send them in several requests.",
                    )
            if inner is None:
                continue
            found = _elements(field, value) if field.is_repeated else (value,)
            bounds = _TIMES.get(inner.full_name)
            if bounds is None:
                stack.extend(found)
            else:
                times_valid = times_valid and all(_in_range(one, bounds) for one in found)
    return times_valid


def is_time(stamp: Timestamp) -> bool:
    """Return whether a Timestamp is within the range of its type."""
    return _in_range(stamp, _TIMES[Timestamp.DESCRIPTOR.full_name])


def _in_range(time: Any, bounds: Bounds) -> bool:
    return bool(bounds[0] <= time.seconds <= bounds[1] and bounds[2] <= time.nanos < _NANOS_PER_S)
