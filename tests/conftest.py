"""The fixtures of every suite; tests/fixtures/ defines and documents each."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Fixtures fork; gRPC's fork handlers crash the child when a channel is busy meanwhile. It reads this when it starts.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

pytest_plugins = (
    "tests.fixtures.disk",
    "tests.fixtures.pki",
    "tests.fixtures.nats",
    "tests.fixtures.seaweed",
    "tests.fixtures.process",
    "tests.fixtures.mesh",
    "tests.fixtures.td_schema",
    "tests.fixtures.newcomer",
    "tests.fixtures.person",
    "tests.fixtures.updates",
)

# Machines that run tests are busy: how long an example takes says nothing there.
settings.register_profile("mesh", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("mesh")
