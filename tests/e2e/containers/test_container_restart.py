"""Taking the mesh down and up again keeps keys and data, and does not silently replace them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.e2e.containers.mesh import SERVICES, ComposeMesh
from tests.fixtures.images import image_bytes
from yggdrasil.ota.v1 import ota_pb2 as pb
from yggdrasil.ota.v1 import ota_pb2_grpc

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

PARTS = ("nats", *SERVICES, "porch-1", "porch-2")


def test_up_again_is_quiet_and_keeps_every_certificate(compose: ComposeMesh) -> None:
    before = {part: compose.run(part, "cat", "/identity/cert.pem") for part in PARTS}
    compose.up()
    assert "everything exists" in compose.container("pki").logs(tail=1).decode()
    assert {part: compose.run(part, "cat", "/identity/cert.pem") for part in PARTS} == before


def _requests(data: bytes) -> Iterator[pb.UploadImageRequest]:
    header = pb.ImageHeader(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    yield pb.UploadImageRequest(header=header)
    for start in range(0, len(data), 64 * 1024):
        yield pb.UploadImageRequest(chunk=data[start : start + 64 * 1024])


def test_images_can_be_kept_in_s3(compose: ComposeMesh) -> None:
    """The profile s3: credentials made once, TLS, an existing bucket, and an image that is downloaded unchanged."""
    compose.environment["YGG_OBJECT_STORE"] = "s3"
    compose.up("ota", "seaweedfs", profiles=("demo", "s3"))
    assert '"object_store": "s3"' in compose.container("ota").logs().decode()
    assert compose.run("ota", "stat", "-c", "%a", "/s3/secret") == "600"

    data = image_bytes(300_000)
    with compose.channel("ota") as channel:
        ota = ota_pb2_grpc.OtaServiceStub(channel)
        image = ota.UploadImage(_requests(data), timeout=60).image
        compose.run(
            "ota", "find", "/data", "-type", "f", "-delete"
        )  # empty the cache, so that the download comes from S3
        answers = ota.DownloadImage(pb.DownloadImageRequest(sha256=image.sha256), timeout=60)
        assert b"".join(answer.chunk for answer in answers) == data
