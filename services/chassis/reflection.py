"""Server reflection (grpc.reflection.v1alpha) of generated services and of services that are added at run time.

Every symbol of a file is found: services, methods, messages, fields, oneofs, extensions, enums and their values, nested
or not. Protobuf's descriptor pool finds neither methods nor fields, so this module keeps an index of names. The files
of a FileSource are described with their comments, as of the moment of each request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Protocol

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.domain.errors import YggError


class FileSource(Protocol):
    """Services that are added and removed at run time."""

    async def files(self) -> Mapping[str, FileDescriptorProto]:
        """Return all files by name; any other file that they import is generated code."""

    async def services(self) -> tuple[str, ...]:
        """Return the full names of the services in them."""


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """The servicer."""

    def __init__(self, names: Iterable[str], source: FileSource | None = None) -> None:
        """`names`: the full names of the static services."""
        super().__init__(names)
        self._always, self._source = tuple(names), source
        self._generated = _index(self._always)

    async def ServerReflectionInfo(self, request_iterator: Any, unused_context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Respond to each request of the stream, in order."""

        async def once(request: Any) -> AsyncIterator[Any]:
            yield request

        async for request in request_iterator:
            response = await self._dynamic(request)
            if response is not None:
                yield response
                continue
            async for response in super().ServerReflectionInfo(once(request), unused_context):
                yield response

    async def _dynamic(self, request: Any) -> Any:
        """Return the response, or None if the base class has it."""
        files, more = await self._source_files()
        if request.HasField("list_services"):
            self._service_names = tuple(sorted({*self._always, *more}))
            return None
        if request.HasField("file_by_filename"):
            found = files.get(request.file_by_filename)
        elif request.HasField("file_containing_symbol"):
            found = self._containing(request.file_containing_symbol, files)
        else:
            return None
        return None if found is None else _response(request, found, files)

    async def _source_files(self) -> tuple[Mapping[str, FileDescriptorProto], tuple[str, ...]]:
        """Return the files and services of the source, none while the store is unavailable."""
        if self._source is None:
            return {}, ()
        try:
            return await self._source.files(), await self._source.services()
        except YggError:
            return {}, ()

    def _containing(self, symbol: str, files: Mapping[str, FileDescriptorProto]) -> FileDescriptorProto | None:
        name = self._generated.get(symbol)
        if name is not None:
            return _generated_file(name)
        return next((file for file in files.values() if symbol in symbols(file)), None)


def symbols(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the full names of all symbols in the file."""
    scope = f"{file.package}." if file.package else ""
    for service in file.service:
        yield f"{scope}{service.name}"
        yield from (f"{scope}{service.name}.{method.name}" for method in service.method)
    yield from _symbols(scope, file.message_type, file.enum_type, file.extension)


def _symbols(
    scope: str, messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto], extensions: Iterable[Any]
) -> Iterator[str]:
    yield from (f"{scope}{extension.name}" for extension in extensions)
    for enum in enums:
        yield f"{scope}{enum.name}"
        for value in enum.value:
            yield f"{scope}{value.name}"  # an enum value is in the scope of its enum's parent, as in C++
            yield f"{scope}{enum.name}.{value.name}"  # the form that people and grpcurl use
    for message in messages:
        inner = f"{scope}{message.name}."
        yield f"{scope}{message.name}"
        yield from (f"{inner}{field.name}" for field in message.field)
        yield from (f"{inner}{oneof.name}" for oneof in message.oneof_decl)
        yield from _symbols(inner, message.nested_type, message.enum_type, message.extension)


def _index(services: Iterable[str]) -> dict[str, str]:
    """Return every symbol of the files of these services and of all their imports, with its file."""
    pool = descriptor_pool.Default()
    queue, seen, found = [], set(), {}
    for service in services:
        try:
            queue.append(pool.FindServiceByName(service).file.name)
        except KeyError:
            continue  # a service without a description
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        file = _generated_file(name)
        found.update(dict.fromkeys(symbols(file), name))
        queue += file.dependency
    return found


def _generated_file(name: str) -> FileDescriptorProto:
    file = FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
    return file


def _response(request: Any, file: FileDescriptorProto, files: Mapping[str, FileDescriptorProto]) -> Any:
    """Return the file and all its imports, each once."""
    found: dict[str, bytes] = {}
    queue: list[FileDescriptorProto] = [file]
    while queue:
        one = queue.pop(0)
        if one.name not in found:
            found[one.name] = one.SerializeToString()
            queue += [files.get(name) or _generated_file(name) for name in one.dependency]
    return reflection_pb2.ServerReflectionResponse(
        original_request=request,
        file_descriptor_response=reflection_pb2.FileDescriptorResponse(file_descriptor_proto=list(found.values())),
    )
