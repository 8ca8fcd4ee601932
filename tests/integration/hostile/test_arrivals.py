"""Many silent connections at any port do not block other clients; all ports require TLS 1.3."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.chassis import probe
from services.chassis.logs import Throttle
from services.chassis.server import HANDSHAKE_TIMEOUT_MS
from tests.fixtures.pki import Pki
from tests.fixtures.wait import until
from tests.integration.hostile.conftest import SERVICES, Everything

CROWD = 1200
PORTS = {"images": "ota", "enrol": "registry", "link": "jotunheim_bridge"}


def port_of(everything: Everything, name: str) -> int:
    """Return the gRPC port of a service, or the port of `images`, `enrol` or `link`."""
    ready = everything.running[PORTS.get(name, name)].ready()
    return int(str(ready[name if name in PORTS else "listen"]).rpartition(":")[2])


@contextlib.contextmanager
def crowd(port: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Open connections that send nothing."""
    peers = []
    try:
        for _ in range(CROWD):
            peer = socket.socket()
            peers.append(peer)
            peer.bind((source, 0))
            peer.settimeout(5)
            peer.connect(("127.0.0.1", port))
        yield peers
    finally:
        for peer in peers:
            peer.close()


def client(pki: Pki, alpn: str, kind: str, name: str) -> ssl.SSLContext:
    """Return a TLS context of any version without verification; an empty `kind` means no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    if kind:
        directory = pki.directory(kind, name)
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


def asked(context: ssl.SSLContext, port: int, says: bytes, source: str = "127.0.0.2") -> bytes:
    """Send `says` from another address and return the first bytes of the answer."""
    with (
        socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.sendall(says)
        return tls.recv(100)


@pytest.fixture
def ask(pki: Pki) -> Callable[[str, int], bytes]:
    """Return a function that sends a request to the port of images or enrolment and returns the answer."""

    def made(name: str, port: int) -> bytes:
        if name == "images":
            says = b"GET /images/none HTTP/1.1\r\nHost: localhost\r\n\r\n"
            return asked(client(pki, "http/1.1", "device", "porch-1"), port, says)
        return asked(client(pki, "einherjar-enrol/1", "", ""), port, b"\x02\x0a\x00")

    return made


@pytest.mark.parametrize("name", ["images", "enrol"])
def test_silent_connections_leave_the_port_usable(
    everything: Everything, pki: Pki, ask: Callable[[str, int], bytes], name: str
) -> None:
    port, service = port_of(everything, name), everything.running[PORTS[name]]
    with crowd(port):
        assert ask(name, port)
        assert probe.serving(service.listen, pki.files("service", PORTS[name]))
    until(lambda: _descriptors(service.pid) < CROWD // 2, what="the end of the crowd")


def test_idle_peers_are_closed_after_handshake_timeout(everything: Everything, pki: Pki) -> None:
    name = "registry"
    service = everything.running[name]
    before = _descriptors(service.pid)
    with crowd(port_of(everything, name)):
        assert probe.serving(service.listen, pki.files("service", name))
        until(lambda: _descriptors(service.pid) > before + CROWD // 2, what="the crowd")
        until(lambda: _descriptors(service.pid) < before + CROWD // 4, 3 * HANDSHAKE_TIMEOUT_MS / 1000)


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize("name", [*SERVICES, *PORTS])
def test_every_port_speaks_tls_1_3_and_no_less(everything: Everything, pki: Pki, name: str) -> None:
    device = name in PORTS
    context = client(pki, "h2", "device" if device else "user", "porch-1" if device else "operator")
    port = port_of(everything, name)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        asked(context, port, b"")
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        assert tls.version() == "TLSv1.3"


@pytest.mark.parametrize("name", [*SERVICES, *PORTS])
def test_peers_without_valid_certificate_are_logged_sparsely(everything: Everything, pki: Pki, name: str) -> None:
    service, port = everything.running[PORTS.get(name, name)], port_of(everything, name)
    seen = len(service.lines)
    peers = (client(pki, "h2", "", ""), client(pki, "einherjar-enrol/1", "user", "operator"))
    for _ in range(3 * Throttle.BURST):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
            plain.shutdown(socket.SHUT_WR)
            plain.recv(100)
        for context in peers:
            with contextlib.suppress(OSError):
                asked(context, port, b"\xff\xff\xff\xff")
    assert probe.serving(service.listen, pki.files("service", service.name))
    assert len(service.lines) - seen <= 2 * Throttle.BURST, service.lines[seen : seen + 30]
