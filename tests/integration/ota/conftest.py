"""ota as a separate process, with each of its object stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.nats import NatsServer
from tests.fixtures.process import ServiceProcess, StartService

StartOta = Callable[..., ServiceProcess]


@pytest.fixture(params=["nats", "s3"])
def start_ota(
    request: pytest.FixtureRequest, start_service: StartService, fresh_nats: NatsServer, tmp_path: Path
) -> StartOta:
    """Return a function that starts ota; a second start uses the same store and folder."""
    settings: dict[str, object] = {"nats_url": fresh_nats.url, "data_dir": tmp_path / "data", "drain_s": 1}
    if request.param == "s3":
        weed = request.getfixturevalue("seaweed")
        settings |= {
            "object_store": "s3",
            "s3_endpoint_url": weed.url,
            "s3_bucket": "integration",
            "s3_access_key_file": weed.access_key_file,
            "s3_secret_key_file": weed.secret_key_file,
            "s3_ca_file": weed.ca_file,
        }
    return lambda **more: start_service("ota", **{**settings, **more})
