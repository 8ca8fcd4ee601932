"""Parse script files: language, text, and the declarations in their leading comments.

    -- Blink an LED.                                    ;; the same in Scheme
    -- @param times int How often, 1 to 20.
    -- @param note string? A note for the log.          a ? after the type: optional
    -- @result count int How often it was lit.
    -- @requires actuator.led@1+

Owns the file format. Does not connect to a mesh.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.domain import text
from ygg import files
from ygg.exits import UsageError

SUFFIXES = {".lua": "lua", ".scm": "scheme", ".ss": "scheme", ".scheme": "scheme"}
MAX_SOURCE_BYTES = 256 * 1024
TYPES = ("any", "bool", "int", "double", "string", "bytes")
_COMMENT = re.compile(r"(?:--+|;+)\s?(.*)")
_FIELD = re.compile(r"@(param|result)\s+([a-z][a-z0-9_]*)\s+([a-z]+)(\?)?\s*(.*)")
_DIALECT = re.compile(r"@dialect\s+(steel|r7rs)")
_REQUIRES = re.compile(r"@requires\s+(.+)")


@dataclass(frozen=True, slots=True)
class Declared:
    """A parameter or a result; `type` is one of TYPES."""

    name: str
    type: str
    description: str = ""
    optional: bool = False


@dataclass(slots=True)
class Header:
    """The declarations of a file."""

    description: str = ""
    parameters: list[Declared] = field(default_factory=list)
    results: list[Declared] = field(default_factory=list)
    requires: list[str] = field(default_factory=list)


def read(file: Path) -> str:
    """Return the text of a file. Raises UsageError if it is missing, too long or not UTF-8."""
    data = files.read_bytes(file)
    if len(data) > MAX_SOURCE_BYTES:
        raise UsageError(f"{file} is too long: {len(data)} bytes, limit {MAX_SOURCE_BYTES}")
    try:
        return text.decode(data, file)
    except text.TextError as e:
        raise UsageError(e.message, hint=e.hint) from None


def language(file: Path, lang: str) -> str:
    """Return `lua` or `scheme`, from `lang` or else the file's suffix. Raises UsageError."""
    found = lang or SUFFIXES.get(file.suffix.lower(), "")
    if found not in ("lua", "scheme"):
        raise UsageError(f"unknown language of {file}", hint="Use the suffix .lua or .scm, or pass --lang.")
    return found


def header(source: str) -> Header:
    """Return the declarations in the leading comments. Raises UsageError with the line number."""
    found, words = Header(), list[str]()
    for number, line in enumerate(_first_comments(source), 1):
        if not line.startswith("@"):
            words.append(line)
        elif _DIALECT.fullmatch(line):
            continue  # the engine reads it
        elif match := _REQUIRES.fullmatch(line):
            found.requires.append(match[1].strip())
        elif match := _FIELD.fullmatch(line):
            kind, name, of_type, optional, description = match.groups()
            if of_type not in TYPES:
                raise UsageError(f"line {number}: unknown type {of_type}", hint=f"Expected one of {', '.join(TYPES)}.")
            declared = Declared(name, of_type, description, bool(optional))
            (found.parameters if kind == "param" else found.results).append(declared)
        else:
            raise UsageError(
                f"line {number}: invalid tag {line[:60]}",
                hint="Expected @param NAME TYPE TEXT, @result NAME TYPE TEXT or @requires REQUIREMENT.",
            )
    found.description = "\n".join(words).strip()
    return found


def _first_comments(source: str) -> Iterator[str]:
    for line in source.splitlines():
        match = _COMMENT.fullmatch(line.strip())
        if not match and not line.startswith(("#!", "#lang ")):
            return
        if match:
            yield match[1].strip()


def find_tests(folder: Path) -> list[Path]:
    """Return the files `*_test.lua` and `*_test.scm` below `folder`, sorted. Raises UsageError if there are none."""
    if not folder.is_dir():
        raise UsageError(f"directory not found: {folder}")
    found = sorted(f for f in folder.rglob("*_test.*") if f.suffix.lower() in SUFFIXES)
    if not found:
        raise UsageError(f"no tests in {folder}", hint="Name test files NAME_test.lua or NAME_test.scm.")
    return found


def subject_of(tests: Path) -> str:
    """Return the source of the script under test, such as `blink.lua` for `blink_test.lua`; "" if missing."""
    file = tests.with_name(tests.stem.removesuffix("_test") + tests.suffix)
    return read(file) if file != tests and file.is_file() else ""
