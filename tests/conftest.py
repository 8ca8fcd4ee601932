"""The fixtures that every suite may use; each is documented where it is defined, under tests/fixtures/."""

from __future__ import annotations

pytest_plugins = (
    "tests.fixtures.pki",
    "tests.fixtures.nats",
    "tests.fixtures.seaweed",
    "tests.fixtures.process",
    "tests.fixtures.mesh",
)
