"""Server reflection (grpc.reflection.v1alpha) of the generated services and of services that come and go.

The generated files are told from the default pool, as ever. What a FileSource has is told with its comments, as of the
moment of each request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Protocol

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.domain.errors import YggError


class FileSource(Protocol):
    """Services that come and go."""

    async def files(self) -> Mapping[str, FileDescriptorProto]:
        """All files by name; what they import beyond each other is generated code."""

    async def services(self) -> tuple[str, ...]:
        """Full names of the services in them."""


class DynamicReflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """The servicer."""

    def __init__(self, names: Iterable[str], source: FileSource) -> None:
        """`names` are those of the services that are always there."""
        super().__init__(names)
        self._always, self._source = tuple(names), source

    async def ServerReflectionInfo(self, request_iterator: Any, unused_context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Answers each request of the stream, in order."""

        async def once(request: Any) -> AsyncIterator[Any]:
            yield request

        async for request in request_iterator:
            answer = await self._own(request)
            if answer is not None:
                yield answer
                continue
            async for answer in super().ServerReflectionInfo(once(request), unused_context):
                yield answer

    async def _own(self, request: Any) -> Any:
        """The answer where it is ours to give."""
        try:
            files = await self._source.files()
            more = await self._source.services()
        except YggError:
            return None  # what is always there can be told without the store
        if request.HasField("list_services"):
            self._service_names = tuple(sorted({*self._always, *more}))
            return None
        if request.HasField("file_by_filename"):
            found = files.get(request.file_by_filename)
        elif request.HasField("file_containing_symbol"):
            found = _holding(files, request.file_containing_symbol)
        else:
            return None
        return None if found is None else _told(request, found, files)


def _holding(files: Mapping[str, FileDescriptorProto], symbol: str) -> FileDescriptorProto | None:
    for file in files.values():
        for message in file.message_type:
            if f"{file.package}.{message.name}" == symbol:
                return file
        for service in file.service:
            full = f"{file.package}.{service.name}"
            if symbol == full or symbol in (f"{full}.{method.name}" for method in service.method):
                return file
    return None


def _told(request: Any, file: FileDescriptorProto, files: Mapping[str, FileDescriptorProto]) -> Any:
    """The file and all that it imports, each once."""
    told: dict[str, bytes] = {}
    default = descriptor_pool.Default()

    def tell(name: str) -> None:
        if name in told:
            return
        known = files.get(name)
        if known is None:
            known = FileDescriptorProto()
            default.FindFileByName(name).CopyToProto(known)
        told[name] = known.SerializeToString()
        for dependency in known.dependency:
            tell(dependency)

    tell(file.name)
    return reflection_pb2.ServerReflectionResponse(
        original_request=request,
        file_descriptor_response=reflection_pb2.FileDescriptorResponse(file_descriptor_proto=list(told.values())),
    )
