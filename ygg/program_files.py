"""Parse program files: source whose leading comments are the manifest.

    -- Keep a room warm.                               ;; the same in Scheme
    -- @version 1.2.0
    -- @author Ada
    -- @param limit double=20 Below this it heats.     without `=` a deployment must pass a value
    -- @param at string="0 7 * * *" When it starts.    JSON quotes if the value has spaces
    -- @requires sensor.temperature@1+{celsius r}
    -- @depends units 1.0.0                            a package to link and its minimum version
    -- @memory 8MiB      @timeout 5      @store 32KiB      @timers 8      @priority 10      @restart no
    ;; @dialect r7rs                                   Scheme only: steel (default) or r7rs

Owns the file format. Does not connect to a mesh.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.chassis import codec
from ygg import script_files, values
from ygg.exits import UsageError
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.loki.v1 import script_pb2 as sp

_TYPES = {
    name: sp.ScriptType.Value(f"SCRIPT_TYPE_{'UNSPECIFIED' if name == 'any' else name.upper()}")
    for name in script_files.TYPES
}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}
LANGUAGES = {"lua": lp.LANGUAGE_LUA, "scheme": lp.LANGUAGE_SCHEME}
FIRST_VERSION = "0.1.0"
_COMMENT = re.compile(r"(?:--+|;+)\s?(.*)")
_LINE = re.compile(r"@([a-z]+)\s+(.+)")
_PARAM = re.compile(r"([a-z][a-z0-9_]*)\s+([a-z]+)(\?)?(?:=(\"(?:[^\"\\]|\\.)*\"|\S+))?\s*(.*)")
_SIZE = re.compile(r"([0-9]+)\s*(KiB|MiB|)")
_SIZES = {"": 1, "KiB": 1024, "MiB": 1024 * 1024}
_HINT = (
    "Known tags: version, name, author, param, requires, depends, memory, timeout, store, timers, priority, restart,"
    " dialect."
)


def name_of(file: Path) -> str:
    """Return the program id of a file name: `sensor_monitor` for `sensor-monitor.lua`. Raises UsageError."""
    found = re.sub(r"[^a-z0-9_]+", "_", file.stem.lower()).strip("_")[:32]
    if not found[:1].isalpha():
        raise UsageError(f"cannot derive a program id from {file.name}", hint="Pass one:  --id NAME")
    return found


def package(file: Path, *, lang: str = "", program_id: str = "", version: str = "") -> pb.ProgramPackage:
    """Return the package of a file. Raises UsageError with the line number."""
    source = script_files.read(file)
    manifest = pb.ProgramManifest(
        id=program_id or name_of(file), language=LANGUAGES[script_files.language(file, lang)], version=FIRST_VERSION
    )
    words: list[str] = []
    for number, line in enumerate(source.splitlines(), 1):
        match = _COMMENT.fullmatch(line.strip())
        if not match and number == 1 and line.startswith(("#!", "#lang ")):
            continue
        if not match:
            break
        text = match[1].strip()
        if not text.startswith("@"):
            words.append(text)
            continue
        found = _LINE.fullmatch(text)
        reader = _READERS.get(found[1]) if found else None
        if found is None or reader is None:
            raise UsageError(f"{file.name}, line {number}: invalid tag {text[:60]}", hint=_HINT)
        try:
            reader(manifest, found[2].strip())
        except ValueError as e:
            raise UsageError(f"{file.name}, line {number}: {text[:60]}: {e}", hint=_HINT) from e
    manifest.description = "\n".join(words).strip()
    manifest.checksum = hashlib.sha256(source.encode()).hexdigest()
    manifest.version = version or manifest.version
    manifest.create_time.FromSeconds(int(file.stat().st_mtime))
    return pb.ProgramPackage(manifest=manifest, source=source)


def arguments(manifest: pb.ProgramManifest, words: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a deployment, each converted to the type that the manifest declares."""
    types = {parameter.name: _TYPE_NAMES.get(parameter.type, "any") for parameter in manifest.parameters}
    return {name: codec.value_to_proto(values.typed(word, types.get(name, "any"))) for name, word in words.items()}


def _set(name: str) -> Callable[[pb.ProgramManifest, str], None]:
    return lambda manifest, text: setattr(manifest, name, text)


def _param(manifest: pb.ProgramManifest, text: str) -> None:
    match = _PARAM.fullmatch(text)
    if not match:
        raise ValueError("expected @param NAME TYPE=DEFAULT TEXT")
    name, of_type, optional, default, description = match.groups()
    if of_type not in script_files.TYPES:
        raise ValueError(f"unknown type {of_type}; expected one of {', '.join(script_files.TYPES)}")
    value = codec.value_to_proto(values.typed(default, of_type)) if default is not None else None
    manifest.parameters.append(
        pb.ProgramParameter(
            name=name,
            description=description,
            default_value=value,
            type=_TYPES[of_type],
            optional=bool(optional),
        )
    )


def _depends(manifest: pb.ProgramManifest, text: str) -> None:
    name, _, minimum = text.partition(" ")
    manifest.dependencies.append(pb.ProgramDependency(id=name, minimum_version=minimum.strip()))


def _size(name: str) -> Callable[[pb.ProgramManifest, str], None]:
    def read(manifest: pb.ProgramManifest, text: str) -> None:
        match = _SIZE.fullmatch(text)
        if not match:
            raise ValueError("expected a size in bytes, KiB or MiB, such as 8MiB")
        setattr(manifest.limits, name, int(match[1]) * _SIZES[match[2]])

    return read


def _timeout(manifest: pb.ProgramManifest, text: str) -> None:
    manifest.limits.run_timeout.FromMilliseconds(int(float(text.removesuffix("s")) * 1000))


def _restart(manifest: pb.ProgramManifest, text: str) -> None:
    if text not in ("yes", "no"):
        raise ValueError("expected yes or no")
    manifest.auto_restart = text == "yes"


def _dialect(manifest: pb.ProgramManifest, text: str) -> None:
    """Validate the dialect only: the engine reads it from the source."""
    if text not in ("steel", "r7rs"):
        raise ValueError("expected steel or r7rs")


_READERS: dict[str, Callable[[pb.ProgramManifest, str], None]] = {
    "version": _set("version"),
    "name": _set("name"),
    "author": _set("author"),
    "param": _param,
    "requires": lambda manifest, text: manifest.requires.append(text),
    "depends": _depends,
    "memory": _size("memory_bytes"),
    "store": _size("store_bytes"),
    "timeout": _timeout,
    "timers": lambda manifest, text: setattr(manifest.limits, "timers", int(text)),
    "priority": lambda manifest, text: setattr(manifest, "priority", int(text)),
    "restart": _restart,
    "dialect": _dialect,
}
