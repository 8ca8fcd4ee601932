"""A backup as a file: one record a line, in protobuf's JSON, and a last line that says how many there are.

    {"group": {"schema": 1, "name": "upstairs", …}}
    {"end": {"records": 1}}

Owns the form and its faults, which name their line. Without the last line a file was cut short.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import IO

from google.protobuf import json_format

from ygg.exits import CliError
from ygg.output import counted, safe
from yggdrasil.registry.v1 import backup_pb2

MAX_LINE = 4 * 1024 * 1024


def line(record: backup_pb2.BackupRecord) -> str:
    """A record as a line."""
    data = json_format.MessageToDict(record, preserving_proto_field_name=True)
    # Sorted, so that equal records are equal lines and two backups can be compared with `diff`.
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"


def end(records: int) -> str:
    """The last line."""
    return json.dumps({"end": {"records": records}}, separators=(",", ":")) + "\n"


def check(stream: IO[bytes], name: str) -> int:
    """The number of records of a whole backup, by its last line; leaves `stream` at its beginning.

    Raises CliError where the file was cut short.
    """
    lines, last = 0, b""
    for text in stream:
        lines, last = lines + 1, text
    stream.seek(0)
    if lines == 0:
        raise CliError(f"{name} is empty")
    found = _end(_json(lines, last.decode(errors="replace"))) if last.endswith(b"\n") else None
    if found is None:
        raise CliError(
            f"{name} ends at line {lines} without the line that ends a backup: it was cut short",
            hint="Nothing was restored. To restore what is in it all the same:  ygg restore - < FILE",
        )
    if found != lines - 1:
        has = counted(lines - 1, "record")
        raise CliError(f"{name} has {has}, its last line {lines} says {found}; nothing was restored")
    return found


def records(stream: Iterable[bytes]) -> Iterator[backup_pb2.BackupRecord]:
    """The records of a backup, as they are read. Raises CliError, with the line, for what is none."""
    count = ended = 0
    for number, text in enumerate(stream, 1):
        if ended:
            raise CliError(f"line {number} comes after the line that ends the backup")
        if len(text) > MAX_LINE:
            raise CliError(f"line {number} is longer than {MAX_LINE // 2**20} MiB")
        data = _json(number, text.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").decode(errors="replace"))
        found = _end(data)
        if found is not None:
            if found != count:
                raise CliError(f"line {number} says {counted(found, 'record')}, there were {count}: lines are missing")
            ended = number
            continue
        if not isinstance(data, dict):
            raise CliError(f"line {number} is no record of a backup: it is no JSON object")
        try:
            record = json_format.ParseDict(data, backup_pb2.BackupRecord())
        except (json_format.ParseError, TypeError, ValueError, RecursionError) as e:
            raise CliError(f"line {number} is no record of a backup: {safe(e)}") from e
        count += 1
        yield record
    if not ended:
        raise CliError(
            f"it ends after line {count} without the line that ends a backup: it was cut short",
            hint="What came until then is restored.",
        )


def _json(number: int, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise CliError(
            f"line {number} is no JSON: {safe(e)}", hint="The file is damaged, or was cut short there."
        ) from e


def _end(data: object) -> int | None:
    if not isinstance(data, dict) or not isinstance(data.get("end"), dict):
        return None
    found = data["end"].get("records")
    return found if isinstance(found, int) else None
