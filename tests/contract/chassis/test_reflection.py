"""Reflection finds every kind of symbol of every service, through the API and with the real grpcurl."""

from __future__ import annotations

import asyncio
import pkgutil
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import yggdrasil
from services.chassis import channel
from services.chassis.server import RpcServer, ServerInfo
from tests.fixtures.pki import Pki

GRPCURL = Path(sys.executable).parent / "grpcurl"
MODULES = [
    import_module(found.name)
    for found in pkgutil.walk_packages(yggdrasil.__path__, "yggdrasil.")
    if found.name.endswith("_pb2")
]
SERVICES = [service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]


def _of_enum(enum: Any, scope: str) -> Iterator[tuple[str, str, str]]:
    yield "enum", enum.full_name, enum.file.name
    for value in enum.values:
        yield "enum value", f"{scope}.{value.name}", enum.file.name
        yield "enum value in its enum", f"{enum.full_name}.{value.name}", enum.file.name


def _of_message(message: Any, kind: str = "message") -> Iterator[tuple[str, str, str]]:
    yield kind, message.full_name, message.file.name
    yield from (("field", field.full_name, message.file.name) for field in message.fields)
    yield from (("one-of", one.full_name, message.file.name) for one in message.oneofs)
    for enum in message.enum_types:
        yield from _of_enum(enum, message.full_name)
    for inner in message.nested_types:
        yield from _of_message(inner, "nested message")


def symbols(files: Iterable[Any]) -> Iterator[tuple[str, str, str]]:
    """Return kind, full name and file of every symbol in the descriptors of the generated code."""
    for file in files:
        for service in file.services_by_name.values():
            yield "service", service.full_name, file.name
            yield from (("method", method.full_name, file.name) for method in service.methods)
        for enum in file.enum_types_by_name.values():
            yield from _of_enum(enum, file.package)
        for message in file.message_types_by_name.values():
            yield from _of_message(message)


SYMBOLS = list(symbols({service.file for service in SERVICES}))


@pytest.fixture
async def endpoint(pki: Pki) -> AsyncIterator[str]:
    """A server with reflection of every service of the mesh."""
    server = RpcServer("127.0.0.1:0", pki.files("service", "registry"), ServerInfo("1.2.3", "replica-1", 0.0))
    for service in SERVICES:
        server.add(service.full_name, lambda _: None)
    yield await server.start()
    await server.stop(0)


async def _describe(endpoint: str, pki: Pki, names: list[str]) -> list[Any]:
    async def requests() -> AsyncIterator[Any]:
        for name in names:
            yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)

    connected = channel.connect(endpoint, pki.files("user", "operator"), "registry")
    try:
        call = reflection_pb2_grpc.ServerReflectionStub(connected).ServerReflectionInfo(requests())
        return [answer async for answer in call]
    finally:
        await connected.close()


def test_symbols_cover_every_kind() -> None:
    kinds = {kind for kind, _, _ in SYMBOLS}
    assert {"service", "method", "message", "nested message", "field", "one-of", "enum", "enum value"} <= kinds


async def test_reflection_finds_file_of_every_symbol(endpoint: str, pki: Pki) -> None:
    answers = await _describe(endpoint, pki, [name for _, name, _ in SYMBOLS])
    parsed: dict[bytes, str] = {}
    wrong = []
    for (kind, name, file), answer in zip(SYMBOLS, answers, strict=True):
        given = list(answer.file_descriptor_response.file_descriptor_proto)
        first = given[0] if given else b""
        if parsed.setdefault(first, FileDescriptorProto.FromString(first).name) != file:
            wrong.append((kind, name, answer.error_response.error_message))
    assert not wrong


async def test_reflection_returns_not_found_for_unknown_symbol(endpoint: str, pki: Pki) -> None:
    method = next(name for kind, name, _ in SYMBOLS if kind == "method")
    for answer in await _describe(endpoint, pki, [f"{method}s", method.rpartition(".")[0] + "s", "", "."]):
        assert answer.error_response.error_code == 5


async def test_grpcurl_describes_symbols_of_each_kind(endpoint: str, pki: Pki) -> None:
    # grpcurl resolves an enum value only through its enum.
    one_of_each = {(kind, file): name for kind, name, file in SYMBOLS if kind != "enum value"}
    directory = pki.directory("user", "operator")
    files = [("-cacert", "services.pem"), ("-cert", "cert.pem"), ("-key", "key.pem")]
    flags = [word for flag, name in files for word in (flag, str(directory / name))]

    async def described(name: str) -> str:
        process = await asyncio.create_subprocess_exec(
            GRPCURL,
            *flags,
            endpoint,
            "describe",
            name,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return (await process.communicate())[0].decode()

    for (kind, _), name in one_of_each.items():
        text = await described(name)
        assert text.startswith(f"{name} is "), (kind, text)
