from pathlib import Path

import pytest

from tests.fakes.clock import Clock
from ygg.pki.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store.create(tmp_path / "pki", clock)
