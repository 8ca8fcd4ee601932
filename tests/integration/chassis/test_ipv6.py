"""A mesh on the IPv6 loopback: it exercises all code that formats or parses HOST:PORT."""

from __future__ import annotations

import socket

import pytest

from services.chassis.probe import serving
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import StartService
from ygg.contexts import Context
from ygg.mesh.ready import wait_service


def _no_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError:
        return True
    return False


pytestmark = pytest.mark.skipif(_no_ipv6(), reason="this machine has no IPv6 loopback")


async def test_services_listen_and_are_reached_on_ipv6(
    nats_server: NatsServer, start_service: StartService, pki: Pki, tmp_path: object
) -> None:
    registry = start_service(
        "registry", nats_url=nats_server.url, listen="[::1]:0", data_dir=tmp_path, enrol_listen="[::1]:0"
    )
    bridge = start_service(
        "jotunheim_bridge",
        nats_url=nats_server.url,
        listen="[::1]:0",
        link_listen="[::1]:0",
        registry_endpoint=registry.listen,
    )
    for found in (registry.listen, registry.ready()["enrol"], bridge.listen, bridge.ready()["link"]):
        host, _, port = str(found).rpartition(":")
        assert host == "[::1]"
        assert int(port) > 0
    user = pki.files("user", "operator")
    assert serving(registry.listen, user)
    assert serving(bridge.listen, user)
    await wait_service(Context(str(user.directory), registry=registry.listen), "registry")
