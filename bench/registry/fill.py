"""Fills the buckets with a fleet as fast as NATS accepts it: plain publishes on a separate socket.

Not measured: it only creates the state for the measurements. Every acknowledgement is counted.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from bench.harness.process import BenchError
from bench.registry.fleet import Entry, Stored
from services.chassis import buckets
from services.registry.adapters import records

_WINDOW = 4096
_INBOX = "_INBOX_registry.fill"
_ACK = b'"seq":'


def writes(entries: Iterable[Entry], stored: Stored) -> Iterator[tuple[str, bytes]]:
    """Yield subjects and values: the bodies, then each device and its contract."""
    for digest, body in stored.bodies.items():
        yield buckets.CONTRACT_BODIES.subject(digest), body
    for entry in entries:
        yield buckets.DEVICES.subject(entry.record.id), records.device_to_bytes(entry.record)
        contract = stored.contract_bytes(entry.record.id, entry.contract)
        yield buckets.CONTRACTS.subject(entry.record.id), contract


def fill(url: str, context: ssl.SSLContext, messages: Iterable[tuple[str, bytes]]) -> int:
    """Publish all messages and wait for all acknowledgements; return their number."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), 30) as plain:
        plain.recv(1 << 16)
        with context.wrap_socket(plain, server_hostname=place.hostname) as link:
            link.sendall(f'CONNECT {{"verbose":false,"headers":true}}\r\nSUB {_INBOX} 1\r\n'.encode())
            sent = acknowledged = 0
            out, tail = bytearray(), b""
            for subject, value in messages:
                out += f"PUB {subject} {_INBOX} {len(value)}\r\n".encode() + value + b"\r\n"
                sent += 1
                if sent % (_WINDOW // 4) == 0:
                    link.sendall(out)
                    out.clear()
                    while sent - acknowledged > _WINDOW:
                        count, tail = _acknowledged(link, tail)
                        acknowledged += count
            link.sendall(out)
            while acknowledged < sent:
                count, tail = _acknowledged(link, tail)
                acknowledged += count
    return sent


def _acknowledged(link: ssl.SSLSocket, tail: bytes) -> tuple[int, bytes]:
    """Return the number of acknowledgements received, and the tail that may have the start of another."""
    more = link.recv(1 << 18)
    data = tail + more
    if not more or b'"error"' in data or b"-ERR" in data:
        raise BenchError(f"NATS refused a write: {data[:200]!r}")
    if b"PING\r\n" in more:
        link.sendall(b"PONG\r\n")
    return data.count(_ACK), data[1 - len(_ACK) :]
