"""One real registry on a real nats-server for each module of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from yggdrasil.registry.v1 import registry_pb2_grpc, twin_pb2_grpc


@pytest.fixture(scope="module")
def service(nats_server: NatsServer, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with starter(pki) as start:
        process = start("registry", nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("registry"))
        process.ready()
        yield process


@pytest.fixture
async def registry(service: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    async with client(service.listen, pki) as channel:
        yield registry_pb2_grpc.RegistryServiceStub(channel)


@pytest.fixture
async def as_bridge(service: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    """RegistryService, called by the bridge."""
    async with client(service.listen, pki, "service", "jotunheim_bridge") as channel:
        yield registry_pb2_grpc.RegistryServiceStub(channel)


@pytest.fixture
async def twins(service: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    """TwinService, called by a user."""
    async with client(service.listen, pki) as channel:
        yield twin_pb2_grpc.TwinServiceStub(channel)


@pytest.fixture
async def loki_twins(service: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    """TwinService, called by loki."""
    async with client(service.listen, pki, "service", "loki") as channel:
        yield twin_pb2_grpc.TwinServiceStub(channel)


@pytest.fixture
async def bridge_twins(service: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    """TwinService, called by the bridge."""
    async with client(service.listen, pki, "service", "jotunheim_bridge") as channel:
        yield twin_pb2_grpc.TwinServiceStub(channel)
