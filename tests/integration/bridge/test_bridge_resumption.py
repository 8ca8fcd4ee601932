"""TLS resumption within a bridge saves work, and does not bypass the checks of a certificate."""

from __future__ import annotations

import socket
import ssl

import pytest

from services.chassis.errors import IdentityError
from services.jotunheim_bridge.adapters.connection import device_of
from services.jotunheim_bridge.model.framing import FrameDecoder, encode
from tests.fakes.device import ALPN, document, hello
from tests.fixtures.mesh import Mesh
from yggdrasil.device.v1 import link_pb2 as link


def _context(mesh: Mesh) -> ssl.SSLContext:
    files = mesh.pki.directory("device", mesh.one)
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files / "services.pem")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(files / "cert.pem", files / "key.pem")
    context.set_alpn_protocols([ALPN])
    return context


def _welcomed(
    mesh: Mesh, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool, ssl.SSLSession | None]:
    host, _, port = mesh.processes.endpoint("link").rpartition(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
    ):
        tls.sendall(encode(link.Frame(hello=hello(mesh.one, document()))))
        decoder = FrameDecoder()
        frames = [frame for _ in range(1) for frame in decoder.feed(tls.recv(4096))]
        assert frames[0].WhichOneof("body") == "welcome"
        return bool(tls.session_reused), tls.session


async def test_a_device_that_comes_back_resumes_its_tls_session(mesh: Mesh) -> None:
    context = _context(mesh)
    reused, session = _welcomed(mesh, context, None)
    assert not reused
    reused, _ = _welcomed(mesh, context, session)
    assert reused


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        ({"notAfter": "Jan  1 00:00:00 2026 GMT", "subjectAltName": [("URI", "ygg://main/device/a")]}, "expired"),
        ({"notAfter": "Jan  1 00:00:00 2027 GMT", "subjectAltName": [("URI", "ygg://main/user/a")]}, "not a device"),
        ({"notAfter": "Jan  1 00:00:00 2027 GMT", "subjectAltName": [("DNS", "a")]}, "0 identities"),
        ({}, "expired"),
    ],
)
def test_resumed_connection_is_checked_again(certificate: dict[str, object], says: str) -> None:
    now = ssl.cert_time_to_seconds("Jun  1 00:00:00 2026 GMT")
    with pytest.raises(IdentityError, match=says):
        device_of(certificate, now)
    fine = {"notAfter": "Jan  1 00:00:00 2027 GMT", "subjectAltName": [("URI", "ygg://main/device/a")]}
    assert device_of(fine, now) == "a"
