"""Header bombs over HTTP/2 by a caller with a certificate cost bounded memory, and the service stays healthy.

RFC 9113 does not bound a header block that continues in CONTINUATION frames; in HPACK (RFC 7541) each byte of it can
repeat a whole header.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis import probe
from services.chassis.server import MAX_STREAMS
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess
from tests.integration.hostile.conftest import Everything

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, CONTINUATION = 0, 1, 4, 9
END_STREAM, END_HEADERS = 1, 4
FRAME_BYTES = 16_384
BOMB_BYTES = 8 * 1024 * 1024
MAX_GROWTH_KB = 4 * MAX_STREAMS * 1024
"""Some 2.5 MB per concurrent call, until the peer has acknowledged the settings."""
PATH = b"/yggdrasil.registry.v1.RegistryService/GetDevice"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def indexed(name: bytes, value: bytes) -> bytes:
    """Encode a short header with indexing, which adds it to the dynamic table."""
    assert len(name) < 127 and len(value) < 127
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value


START = (
    b"\x83\x87"  # POST, https
    + indexed(b":path", PATH)
    + indexed(b":authority", b"x")
    + indexed(b"content-type", b"application/grpc")
    + indexed(b"te", b"trailers")
    + indexed(b"x-a", b"v" * 10)
)
AGAIN = b"\xbe"
"""Index of the newest header in the dynamic table."""


@contextlib.contextmanager
def connected(service: ServiceProcess, pki: Pki) -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    directory = pki.directory("user", "operator")
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    host, _, port = service.listen.rpartition(":")
    with socket.create_connection((host, int(port)), 60) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(PREFACE + frame(SETTINGS, 0, 0))
        yield tls


def memory_kb(pid: int, which: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(which))


def continued(tls: ssl.SSLSocket) -> None:
    tls.sendall(frame(HEADERS, 0, 1, START))
    for _ in range(BOMB_BYTES // FRAME_BYTES):
        tls.sendall(frame(CONTINUATION, 0, 1, AGAIN * FRAME_BYTES))
    tls.sendall(frame(CONTINUATION, END_HEADERS, 1))


def many_calls(tls: ssl.SSLSocket) -> None:
    for number in range(BOMB_BYTES // FRAME_BYTES):
        block = START if number == 0 else b"\x83\x87\xc2\xc1\xc0\xbf"
        block += AGAIN * (FRAME_BYTES - len(block))
        tls.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * number, block))


def open_calls(tls: ssl.SSLSocket) -> None:
    for number in range(20 * MAX_STREAMS):
        block = START if number == 0 else b"\x83\x87\xc2\xc1\xc0\xbf"
        tls.sendall(frame(HEADERS, END_HEADERS, 1 + 2 * number, block))


@pytest.mark.parametrize("bomb", [continued, many_calls, open_calls], ids=lambda bomb: bomb.__name__)
def test_a_bomb_of_headers_costs_a_bounded_amount(everything: Everything, pki: Pki, bomb: object) -> None:
    service = everything.running["registry"]
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")  # reset the peak
    before = memory_kb(service.pid, "VmRSS")
    assert callable(bomb)
    with connected(service, pki) as tls:
        with contextlib.suppress(OSError):  # the server may close it before the end
            bomb(tls)
        assert probe.serving(service.listen, pki.files("service", "registry"), 30)
    assert memory_kb(service.pid, "VmHWM") - before < MAX_GROWTH_KB
