"""The commands of deploy/README.md; the fixture replaces `make up` and `make down`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.containers.mesh import ROOT, ComposeMesh
from tests.fixtures.documents import blocks

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
EXPECTED = {"grpcurl": "yggdrasil.jotunheim.v1.BridgeService", "anna": "credentials of anna"}


def test_deploy_readme_works_when_followed(compose: ComposeMesh, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for path in ROOT.iterdir():
        if path.name != "var":  # the folder of credentials
            (checkout / path.name).symlink_to(path)
    environment = compose.environment_of_compose() | {"YGG_HOME": str(tmp_path / "home")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    lines = [
        line
        for line in blocks("deploy/README.md", elsewhere="tests/e2e/containers")
        if line[:7] not in ("make up", "make do")
    ]
    assert len(lines) == 7
    for line in lines:
        text = re.sub(r"localhost:50052", compose.endpoint("jotunheim_bridge"), line)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {text}\n{said}"
        for words, expected in EXPECTED.items():
            assert words not in line or expected in said, f"$ {text}\n{said}"
    assert (checkout / "shed-1" / "key.pem").stat().st_mode & 0o077 == 0
