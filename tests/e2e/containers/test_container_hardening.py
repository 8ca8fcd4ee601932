"""Each container has minimal privileges: a user, a read-only root, no capabilities, and only its own identity."""

from __future__ import annotations

import json

import pytest
from docker.models.containers import Container

from tests.e2e.containers.mesh import DEVICES, SERVICES, ComposeMesh

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

RUNNING = ("nats", *SERVICES, *DEVICES)
SIGNING_KEYS = {"registry": ("/identity/devices-ca-key.pem",), "ota": ("/data/timestamp.key",)}
LIST_KEYS = """
import json, os
found = []
for folder, _, names in os.walk("/"):
    if not folder.startswith(("/proc", "/sys", "/usr", "/opt", "/var/lib")):
        found += [os.path.join(folder, name) for name in names if name.endswith((".key", "key.pem"))]
print(json.dumps(found))
"""


def _identity(container: Container) -> str:
    (mount,) = [m for m in container.attrs["Mounts"] if m["Destination"] == "/identity"]
    assert not mount["RW"]
    return str(mount["Name"])


@pytest.mark.parametrize("service", (*RUNNING, "pki"))
def test_it_runs_without_privileges(compose: ComposeMesh, service: str) -> None:
    attributes = compose.container(service).attrs
    host = attributes["HostConfig"]
    assert attributes["Config"]["User"] == "10001:10001"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Privileged"] is False
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == ("no" if service == "pki" else "unless-stopped")


@pytest.mark.parametrize("service", RUNNING)
def test_hardening_is_effective_inside_the_container(compose: ComposeMesh, service: str) -> None:
    status = dict(line.split(":\t", 1) for line in compose.run(service, "cat", "/proc/self/status").splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert compose.container(service).exec_run(["touch", "/usr/lib/x"])[0] != 0


@pytest.mark.parametrize("service", RUNNING)
def test_container_sees_only_its_own_keys(compose: ComposeMesh, service: str) -> None:
    found = json.loads(compose.run(service, "python3", "-c", LIST_KEYS))
    assert sorted(found) == sorted(["/identity/key.pem", *SIGNING_KEYS.get(service, ())])
    name = _identity(compose.container(service))
    assert name == f"{compose.project}_id-{service.replace('_', '-')}"


def test_grpc_is_published_on_loopback_only_and_nats_not_at_all(compose: ComposeMesh) -> None:
    for service in SERVICES:
        published = compose.container(service).attrs["NetworkSettings"]["Ports"]
        for port, where in published.items():
            if port.startswith("500"):
                assert {w["HostIp"] for w in where} == {"127.0.0.1"}, port
    assert not any(compose.container("nats").attrs["NetworkSettings"]["Ports"].values())


def test_devices_cannot_reach_nats(compose: ComposeMesh) -> None:
    address = next(iter(compose.container("nats").attrs["NetworkSettings"]["Networks"].values()))["IPAddress"]
    connect = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"
    inside = compose.container("registry").exec_run(["python3", "-c", connect, address, "4222"])
    assert inside[0] == 0, "a service reaches it at that address"
    assert compose.container("porch-1").exec_run(["python3", "-c", connect, address, "4222"])[0] != 0
