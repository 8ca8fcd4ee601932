"""Reference pages of RPCs: every service, message and enum of one proto package, with the comments of its files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import grpc_tools
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from docs.site import ROOT
from docs.site.callers import ANYBODY, callers
from docs.site.markdown import prose, table

PAGES = {
    "yggdrasil.common.v1": "common",
    "yggdrasil.registry.v1": "registry",
    "yggdrasil.jotunheim.v1": "bridge",
    "yggdrasil.loki.v1": "loki",
    "yggdrasil.ota.v1": "ota",
}
"""Pages in docs/reference/rpc by package. The reference of the device link is docs/reference/protocol.md."""
_FIELD = FieldDescriptorProto
_SERVICE, _MESSAGE, _ENUM = 6, 4, 5
"""Field numbers of FileDescriptorProto, with which SourceCodeInfo paths begin."""


@cache
def descriptors() -> FileDescriptorSet:
    """Return the descriptors of protos/ with their comments."""
    protos = ROOT / "protos"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "protos.binpb"
        files = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
        include = [f"-I{protos}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
        if protoc.main(["protoc", *include, "--include_source_info", f"--descriptor_set_out={out}", *files]):
            raise RuntimeError("protoc failed")
        return FileDescriptorSet.FromString(out.read_bytes())


def page(package: str) -> str:
    """Return the Markdown of all files of `package`, below a heading of the first level."""
    files = [_File(file) for file in descriptors().file if file.package == package]
    services = [part for file in files for part in file.services()]
    return "\n".join([*services, "## Messages\n", *(part for file in files for part in file.messages())])


@dataclass
class _File:
    proto: FileDescriptorProto
    comments: Mapping[tuple[int, ...], str] = field(init=False)

    def __post_init__(self) -> None:
        self.comments = {tuple(at.path): prose(at.leading_comments) for at in self.proto.source_code_info.location}

    def services(self) -> Iterator[str]:
        """Return the sections of services and their methods."""
        for i, service in enumerate(self.proto.service):
            yield f"## {service.name}\n\n{self.comments.get((_SERVICE, i), '')}\n"
            for j, method in enumerate(service.method):
                sent = f"{'stream ' * method.client_streaming}{self._link(method.input_type)}"
                returned = f"{'stream ' * method.server_streaming}{self._link(method.output_type)}"
                admitted = callers().get(f"{service.name}.{method.name}", ANYBODY)
                yield f"### {service.name}.{method.name}\n\n{self.comments.get((_SERVICE, i, 2, j), '')}\n"
                yield f"{sent} → {returned}. Callers: {admitted}.\n"

    def messages(self) -> Iterator[str]:
        """Return the sections of messages and enums, each nested one after its parent."""
        for i, message in enumerate(self.proto.message_type):
            yield from self._message(message, (_MESSAGE, i), "")
        for i, enum in enumerate(self.proto.enum_type):
            yield from self._enum(enum, (_ENUM, i), "")

    def _message(self, message: DescriptorProto, path: tuple[int, ...], outer: str) -> Iterator[str]:
        if message.options.map_entry:
            return
        name = f"{outer}{message.name}"
        rows = [
            (f"`{one.name}`", self._type(one, message), self.comments.get((*path, 2, i), ""))
            for i, one in enumerate(message.field)
        ]
        yield f"### {name}\n\n{self.comments.get(path, '')}\n"
        yield table(("field", "type", "meaning"), rows)
        for i, nested in enumerate(message.nested_type):
            yield from self._message(nested, (*path, 3, i), f"{name}.")
        for i, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, 4, i), f"{name}.")

    def _enum(self, enum: Any, path: tuple[int, ...], outer: str) -> Iterator[str]:
        rows = [(f"`{v.name}`", str(v.number), self.comments.get((*path, 2, i), "")) for i, v in enumerate(enum.value)]
        yield f"### {outer}{enum.name}\n\n{self.comments.get(path, '')}\n"
        yield table(("value", "number", "meaning"), rows)

    def _type(self, one: FieldDescriptorProto, message: DescriptorProto) -> str:
        if one.type not in (_FIELD.TYPE_MESSAGE, _FIELD.TYPE_ENUM):
            name = _FIELD.Type.Name(one.type).removeprefix("TYPE_").lower()
        else:
            entry = next(
                (n for n in message.nested_type if n.options.map_entry and one.type_name.endswith(n.name)), None
            )
            if entry is not None:
                return f"map of {self._type(entry.field[0], message)} to {self._type(entry.field[1], message)}"
            name = self._link(one.type_name)
        if one.HasField("oneof_index") and not one.proto3_optional:
            return f"{name}, one of `{message.oneof_decl[one.oneof_index].name}`"
        repeated = one.label == _FIELD.LABEL_REPEATED
        return f"{'repeated ' * repeated}{name}{', optional' * one.proto3_optional}"

    def _link(self, name: str) -> str:
        """Return a link to a message or enum by its full name, such as `.yggdrasil.ota.v1.Wave`."""
        package = next((known for known in PAGES if name.startswith(f".{known}.")), "")
        if not package:
            return f"`{name.removeprefix('.')}`"
        short = name.removeprefix(f".{package}.")
        where = "" if package == self.proto.package else f"{PAGES[package]}.md"
        return f"[{short}]({where}#{short.lower().replace('.', '')})"
