"""The mesh in containers, started once for all tests of this folder, and removed afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.containers.mesh import ComposeMesh


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeMesh]:
    """The mesh and two devices. Tests may kill its parts: each test waits for the services that it needs."""
    mesh = ComposeMesh(tmp_path_factory.mktemp("compose"))
    try:
        mesh.up()
        yield mesh
    finally:
        mesh.down()
