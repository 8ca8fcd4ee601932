"""The protocol between the service and its worker processes, over a socket pair.

    frame    uint32 length of the rest (big endian) | uint8 kind | uint32 run | payload, JSON in UTF-8
    run      which execution the frame belongs to; a worker may hold many, all but one of them suspended in a CALL
    turn     of a program that lives, likewise: {do: start, program, name, source, device, args, memory_bytes},
             {do: check, program, name, source}, {do: eval | globals | set, program, key, value}; args and value
             are texts of JSON
    event    a turn that handles an event, the one kind there are thousands of a second: uint32 program |
             uint16 length of the key | key in UTF-8 | value as JSON, absent if null
    done     of such a turn: empty if the value is null and the memory is not reported
    value    JSON, so that every engine can read it: an integer has no point and no exponent, a double has one
             (NaN, Infinity and -Infinity as Python writes them), {"b": base64} is bytes, {"m": {...}} is a map

Owns the framing and the values. `services.loki.host` owns the operations of a CALL.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import struct
from typing import Any

from services.domain.values import Value, check

HEADER = struct.Struct(">IBI")
_BODY_HEAD = HEADER.size - 4
_EVENT = struct.Struct(">IH")
MAX_FRAME_BYTES = 4 * 1024 * 1024


class Kind(enum.IntEnum):
    """The kinds of frames, by sender and payload."""

    RUN = 1  # service: {source, name, device, args, memory_bytes}
    ANSWER = 2  # service: [true, value] or [false, {status, reason, message, hint} as a map]
    STOP = 3  # service: drop the run, which is suspended; answered by FAIL
    TURN = 4  # service: {do, program, ...} begins a turn of a program that lives; `run` is the turn's number
    DROP = 5  # service: forget the program of number `run`, with all its turns; not answered
    EVENT = 6  # service: begins a turn, as TURN does
    READY = 65  # worker, once: {version}
    CALL = 66  # worker: [operation, argument, ...]; the run is suspended until its ANSWER
    LOG = 67  # worker: [level, text]
    DONE = 68  # worker: {value, cpu_s, retire}; retire asks to be replaced
    FAIL = 69  # worker: {reason, message, line, traceback, status, hint, cpu_s, retire}


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_KINDS = {int(kind): kind for kind in Kind}


class WireError(Exception):
    """The other side does not keep to the protocol."""


def frame(kind: Kind, run: int, payload: bytes) -> bytes:
    """Return one frame; raise WireError if the payload is longer than MAX_FRAME_BYTES."""
    if len(payload) > MAX_FRAME_BYTES:
        raise WireError(f"a message of {len(payload)} bytes; at most {MAX_FRAME_BYTES} are allowed")
    return HEADER.pack(len(payload) + _BODY_HEAD, kind, run) + payload


def unpack_header(header: bytes | bytearray, at: int = 0) -> tuple[Kind, int, int]:
    """Kind, run and the length of the payload that follows the header that is at `at`; raises WireError."""
    length, number, run = HEADER.unpack_from(header, at)
    if not _BODY_HEAD <= length <= MAX_FRAME_BYTES + _BODY_HEAD:
        raise WireError(f"a frame of {length} bytes")
    kind = _KINDS.get(number)
    if kind is None:
        raise WireError(f"a frame of kind {number}")
    return kind, run, length - _BODY_HEAD


def event(program: int, key: str, value: str) -> bytes:
    """Return the payload of an EVENT; `value` is JSON."""
    name = key.encode()
    return _EVENT.pack(program, len(name)) + name + (b"" if value == "null" else value.encode("utf-8", "surrogatepass"))


def unpack_event(payload: bytes) -> tuple[int, bytes, bytes]:
    """Return program, key and value of an EVENT; a null value is empty."""
    program, length = _EVENT.unpack_from(payload)
    end = _EVENT.size + length
    return program, payload[_EVENT.size : end], payload[end:]


def dump(content: Any) -> bytes:
    """Any JSON as the payload of a frame."""
    return _encode(content).encode("utf-8", "surrogatepass")


def load(payload: bytes) -> Any:
    """Return the JSON of a payload; raise WireError."""
    try:
        return _decode(payload.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as e:
        raise WireError("a payload that is not JSON") from e


def to_json(value: Value) -> Any:
    """Return a value as JSON of the wire."""
    if isinstance(value, bytes):
        return {"b": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {"m": {key: to_json(item) for key, item in value.items()}}
    return value


def from_json(content: Any) -> Value:
    """Return the decoded value, checked for width and depth; raise WireError or InvalidRequestError."""
    try:
        return check(_from_json(content))
    except (RecursionError, AttributeError, TypeError, binascii.Error) as e:
        raise WireError("invalid value") from e


def _from_json(content: Any) -> Value:
    if isinstance(content, list):
        return [_from_json(item) for item in content]
    if isinstance(content, dict):
        if "b" in content:
            return base64.b64decode(content["b"], validate=True)
        if "m" not in content:
            raise WireError("an object that is neither bytes nor a map")
        return {str(key): _from_json(item) for key, item in content["m"].items()}
    plain: Value = content
    return plain
