"""A full disk under the NATS of the containers, and its recovery."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.e2e.containers.mesh import ROOT, ComposeMesh
from tests.fixtures.wait import until
from yggdrasil.registry.v1 import enrolment_pb2, enrolment_pb2_grpc

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]
SMALL = """
volumes:
  nats-data:
    driver_opts: {type: tmpfs, device: tmpfs, o: "size=256m,uid=10001,gid=10001,mode=0700"}
"""
FILL = "import os; f = os.open('/data/filler', os.O_CREAT | os.O_WRONLY); s = os.statvfs('/data')\n"
FILL += "os.posix_fallocate(f, 0, s.f_bavail * s.f_frsize)"


@pytest.fixture
def small_mesh(tmp_path: Path) -> Iterator[ComposeMesh]:
    override = tmp_path / "small.yml"
    override.write_text(SMALL)
    found = ComposeMesh(tmp_path, environment={"COMPOSE_FILE": f"{ROOT / 'docker-compose.yml'}:{override}"})
    yield found
    found.down()


def test_containers_heal_by_themselves_after_their_disk_was_full(small_mesh: ComposeMesh) -> None:
    mesh = small_mesh
    mesh.up("registry", "ota")
    with mesh.channel("registry") as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)

        def issue(device_id: str) -> grpc.StatusCode:
            try:
                stub.CreateToken(enrolment_pb2.CreateTokenRequest(device_id=device_id), timeout=20)
            except grpc.RpcError as e:
                return e.code()
            return grpc.StatusCode.OK

        assert issue("early-1") is grpc.StatusCode.OK
        mesh.run("nats", "python3", "-c", FILL)
        until(lambda: issue("late-1") is grpc.StatusCode.RESOURCE_EXHAUSTED, 60, "writes are refused")
        (nats,) = [one for one in mesh.status() if one["service"] == "nats"]
        assert (nats["ready"], nats["store_limit_bytes"]) == (False, 0)
        assert "disk full" in nats["note"]
        mesh.run("nats", "rm", "/data/filler")
        until(lambda: issue("late-2") is grpc.StatusCode.OK, 60, "writes are accepted again")
    assert mesh.container("nats").attrs["RestartCount"] == 0
