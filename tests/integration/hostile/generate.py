"""Hostile requests generated from descriptors: every RPC, each field in and out of bounds, invalid bytes.

A new RPC or field is covered as soon as its proto exists. `plausible` fills a message, so that validation reaches its
one odd field.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import yggdrasil

F = FieldDescriptor
PROCESS = {"registry": "registry", "jotunheim": "jotunheim_bridge", "loki": "loki", "ota": "ota"}
DEVICE = "good-1"
MAX_DEPTH, FILLED_DEPTH = 3, 5
"""The maximum depth of odd fields, and of filled messages."""
PLAUSIBLE: dict[str, Any] = {
    "device_id": DEVICE,
    "device_ids": DEVICE,
    "selector": "zone=hall",
    "source": "return 1",
    "cron": "* * * * *",
    "version": "1.2.3",
    "service": "",
    "language": "lua",
    "boot_id": "0123456789abcdef",
    "sha256": "a" * 64,
    "image_sha256": "a" * 64,
    "digest": "a" * 64,
    "document_digest": "a" * 64,
    "has": "actuator.led",
    "requires": "actuator.led",
    "type": "actuator.led",
    "memory_bytes": 8 * 1024 * 1024,
    "output_bytes": 1000,
    "store_bytes": 1000,
    "nonce": b"\x01" * 16,
    "chunk_bytes": 1024,
    "ttl_s": 3600,
    "percent": 100,
    "schema": 1,
}
"""Values by field name; any other text is a valid member name, any other number is 1."""
TEXTS = (
    *("", "a b", "*", ">", "a.b", "..", "a/../b", "\x00", "ä\u202e𝄞", "'; DROP TABLE devices; --", "a\r\nPUB x 1\r\n"),
    *("x" * 64, "x" * 600, "x" * 5000, "x" * 300_000, "x" * 1_100_000, "{}", "0" * 64, "-1", "1e400", "("),
)
BLOBS = (b"", b"\x00", b"\xff" * 31, b"\x00" * 32, b"x" * 5000, b"x" * 1_100_000)
INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1)
DOUBLES = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, -1e-308)
TIMES = ((0, -1), (0, 10**9), (2**62, 0), (-(2**62), 0), (253_402_300_800, 0), (253_402_300_799, 999_999_999), (-1, 0))
COUNTS = (1, 2, 1001, 20_000)
RAW = (
    *(b"\xff", b"\xff" * 40, b"\x0a", b"\x0a\x05abc", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b", b"\x07", b"\x00"),
    *(b"\x0a\x02\xc3\x28", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x00" * 100_000, b"\x12\x00" * 100_000),
    # Groups, and nested messages beyond the depth limit of any parser.
    *(b"\x0b" * 5000, b"\x0a\x7e" * 200),
)
_SIZES = {
    F.TYPE_INT32: (-(2**31), 2**31 - 1),
    F.TYPE_SINT32: (-(2**31), 2**31 - 1),
    F.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    F.TYPE_UINT32: (0, 2**32 - 1),
    F.TYPE_FIXED32: (0, 2**32 - 1),
    F.TYPE_INT64: (-(2**63), 2**63 - 1),
    F.TYPE_SINT64: (-(2**63), 2**63 - 1),
    F.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    F.TYPE_UINT64: (0, 2**64 - 1),
    F.TYPE_FIXED64: (0, 2**64 - 1),
    F.TYPE_ENUM: (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True)
class Rpc:
    """A method and the process that serves it."""

    process: str
    method: MethodDescriptor

    @property
    def path(self) -> str:
        """The path of the method in gRPC."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def id(self) -> str:
        """The id of a test."""
        return self.path.removeprefix("/yggdrasil.")

    def plausible(self) -> Message:
        """Return a well-formed request."""
        return plausible(self.method.input_type)


def rpcs() -> list[Rpc]:
    """Return every method of every generated service, and health and reflection of each process."""
    found: list[Rpc] = []
    for module in sorted(pkgutil.walk_packages(yggdrasil.__path__, "yggdrasil."), key=lambda one: one.name):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(module.name).DESCRIPTOR
            process = PROCESS.get(module.name.split(".")[1], "")
            for service in file.services_by_name.values() if process else ():
                found += [Rpc(process, method) for method in service.methods]
    for open_file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        for service in open_file.services_by_name.values():
            found += [Rpc(process, method) for process in PROCESS.values() for method in service.methods]
    return found


def empty(kind: Descriptor) -> Message:
    """Return a message without fields."""
    made: Message = message_factory.GetMessageClass(kind)()
    return made


def plausible(kind: Descriptor, depth: int = 0) -> Message:
    """Return a message with a plausible value in every field; of a oneof, in the first one."""
    message = empty(kind)
    if kind.full_name == "google.protobuf.Timestamp":
        message.seconds = 1_700_000_000  # type: ignore[attr-defined]
        return message
    if kind.full_name == "google.protobuf.Duration":
        message.seconds = 1  # type: ignore[attr-defined]
        return message
    for field in kind.fields:
        if depth >= FILLED_DEPTH or (field.containing_oneof and field.containing_oneof.fields[0] is not field):
            continue
        if field.name in ("revision", "overwrite", "page_token", "resume_token"):
            continue
        _put(message, field, _plausible_value(field, depth))
    return message


def _plausible_value(field: FieldDescriptor, depth: int) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        value = kind.fields_by_name["value"]
        return {"zone": _plausible_value(value, depth + 1)}
    if kind is not None:
        return plausible(kind, depth + 1)
    if field.enum_type is not None:
        return field.enum_type.values[min(1, len(field.enum_type.values) - 1)].number
    other = {F.TYPE_STRING: "led0", F.TYPE_BYTES: b"\x01" * 32}.get(field.type, 1)
    found = PLAUSIBLE.get(field.name, other)
    return found if isinstance(found, type(other)) else other


def _put(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Set the field to a value, or to a list of it if it is repeated."""
    message.ClearField(field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        entries = getattr(message, field.name)
        for key, one in value.items():
            if isinstance(one, Message):
                entries[key].CopyFrom(one)
            else:
                entries[key] = one
    elif field.is_repeated:
        getattr(message, field.name).extend(value if isinstance(value, list) else [value])
    elif kind is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def odd(kind: Descriptor, depth: int = 0) -> Iterator[Message]:
    """Yield messages with one odd field each, at any depth; the other fields are plausible."""
    yield empty(kind)
    if kind.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        for seconds, nanos in TIMES:
            made = empty(kind)
            made.seconds, made.nanos = seconds, nanos  # type: ignore[attr-defined]
            yield made
        return
    if depth > MAX_DEPTH:
        return
    for field in kind.fields:
        for value in _odd_values(field, depth):
            made = plausible(kind)
            _put(made, field, value)
            yield made


def _odd_values(field: FieldDescriptor, depth: int) -> Iterator[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        yield from _odd_maps(field, depth)
        return
    singles = list(_odd_singles(field, depth))
    yield from singles
    if field.is_repeated and depth == 0:
        value = _plausible_value(field, depth + 1)
        for count in COUNTS:
            yield [value] * count


def _odd_maps(field: FieldDescriptor, depth: int) -> Iterator[Any]:
    entry = field.message_type
    assert entry is not None
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    right = _plausible_value(value, depth + 1)
    if key.type == F.TYPE_STRING:
        yield from ({text: right} for text in TEXTS)
        yield {f"k{number}": right for number in range(COUNTS[2])}
    yield from ({"zone": one} for one in _odd_singles(value, depth + 1))


def _odd_singles(field: FieldDescriptor, depth: int) -> Iterator[Any]:
    if field.message_type is not None:
        if depth < MAX_DEPTH:
            yield from odd(field.message_type, depth + 1)
    elif field.type == F.TYPE_STRING:
        yield from TEXTS
    elif field.type == F.TYPE_BYTES:
        yield from BLOBS
    elif field.type in _SIZES:
        low, high = _SIZES[field.type]
        yield from (number for number in INTEGERS if low <= number <= high)
    elif field.type in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
        yield from DOUBLES


def requests(rpc: Rpc, most: int, chance: random.Random) -> list[bytes]:
    """Return at most `most` requests within gRPC's message limit; a random sample if there are more."""
    made = {message.SerializeToString() for message in odd(rpc.method.input_type)}
    known = sorted(made | set(RAW))
    if len(known) > most:
        known = [*RAW, rpc.plausible().SerializeToString(), *chance.sample(known, most)]
    return known


def mutated(rpc: Rpc, chance: random.Random) -> bytes:
    """Return a plausible request with a few changed bytes."""
    data = bytearray(rpc.plausible().SerializeToString())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
    return bytes(data)
