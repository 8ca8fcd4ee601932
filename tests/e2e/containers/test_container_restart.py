"""Taking the mesh down and up again: keys and data are kept, new ones are not made behind anybody's back."""

from __future__ import annotations

import pytest

from tests.e2e.containers.mesh import SERVICES, ComposeMesh

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

PARTS = ("nats", *SERVICES, "porch-1", "porch-2")


def test_up_again_is_quiet_and_keeps_every_certificate(compose: ComposeMesh) -> None:
    before = {part: compose.run(part, "cat", "/identity/cert.pem") for part in PARTS}
    compose.up()
    assert "all there already" in compose.container("pki").logs(tail=1).decode()
    assert {part: compose.run(part, "cat", "/identity/cert.pem") for part in PARTS} == before


def test_images_can_be_kept_in_s3(compose: ComposeMesh) -> None:
    """The profile s3: credentials made once, TLS, and ota ready with the bucket in place."""
    compose.environment["YGG_OBJECT_STORE"] = "s3"
    compose.up("ota", "seaweedfs", profiles=("demo", "s3"))
    assert '"object_store": "s3"' in compose.container("ota").logs().decode()
    assert compose.run("ota", "python", "-c", "import os; print(oct(os.stat('/s3/secret').st_mode & 0o777))") == "0o600"
