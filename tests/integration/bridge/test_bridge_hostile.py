"""Peers without the TLS of a device of this mesh get no link. Invalid input: test_bridge_bad_input."""

from __future__ import annotations

import ssl

import pytest

from tests.fakes.device import LinkDevice, LinkEndedError, document, hello
from tests.fixtures.mesh import Mesh
from tests.fixtures.pki import Pki


async def test_a_peer_without_our_protocol_name_is_cut_off(mesh: Mesh) -> None:
    device = await mesh.device(alpn="h2")
    device.send(hello=hello(mesh.one, document()))
    assert await device.ended() == []


@pytest.mark.parametrize("kind", ["other mesh", "user", "service", "expired"])
async def test_foreign_or_retired_certificates_get_no_link(mesh: Mesh, other_pki: Pki, kind: str) -> None:
    files = {
        "other mesh": lambda: other_pki.files("device", mesh.one),
        "user": lambda: mesh.pki.files("user", "operator"),
        "service": lambda: mesh.pki.files("service", "loki"),
        "expired": lambda: mesh.pki.expired("device", mesh.one),
    }[kind]()
    if kind == "other mesh":  # give the peer our CA, so that the bridge refuses and not the peer
        ours = (mesh.pki.directory("device", mesh.one) / "services.pem").read_bytes()
        (files.directory / "services.pem").write_bytes(ours)
    with pytest.raises((ssl.SSLError, LinkEndedError, ConnectionError)):
        device = await LinkDevice.connect(mesh.processes.endpoint("link"), files, mesh.one)
        device.send(hello=hello(mesh.one, document()))
        await device.receive()
    good = await mesh.device(mesh.two)
    assert (await good.negotiate()).accepted == 1
