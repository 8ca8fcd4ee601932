"""The backup file format: one record per line in protobuf JSON, then a trailer with the number of records.

    {"group": {"schema": 1, "name": "upstairs", …}}
    {"end": {"records": 1}}

Owns the format; errors carry the line number. A file without the trailer is truncated.
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
    """Return a record as a line."""
    data = json_format.MessageToDict(record, preserving_proto_field_name=True)
    # Sorted keys: equal records become equal lines, so that two backups can be compared with `diff`.
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"


def end(records: int) -> str:
    """Return the trailer."""
    return json.dumps({"end": {"records": records}}, separators=(",", ":")) + "\n"


def check(stream: IO[bytes], name: str) -> int:
    """Return the number of records of a complete backup and rewind `stream`.

    Raises CliError if the file is empty or truncated.
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
            f"{name} is truncated: no trailer after line {lines}",
            hint="Nothing was restored. To restore the records that it has:  ygg restore - < FILE",
        )
    if found != lines - 1:
        has = counted(lines - 1, "record")
        raise CliError(f"{name} has {has}, but its trailer (line {lines}) says {found}; nothing was restored")
    return found


def records(stream: Iterable[bytes]) -> Iterator[backup_pb2.BackupRecord]:
    """Yield the records of a backup as they are read. Raises CliError with the line number of an invalid record."""
    count = ended = 0
    for number, text in enumerate(stream, 1):
        if ended:
            raise CliError(f"line {number} follows the trailer")
        if len(text) > MAX_LINE:
            raise CliError(f"line {number} is longer than {MAX_LINE // 2**20} MiB")
        data = _json(number, text.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").decode(errors="replace"))
        found = _end(data)
        if found is not None:
            if found != count:
                raise CliError(
                    f"line {number}: trailer says {counted(found, 'record')}, found {count}: lines are missing"
                )
            ended = number
            continue
        if not isinstance(data, dict):
            raise CliError(f"line {number} is not a backup record: not a JSON object")
        try:
            record = json_format.ParseDict(data, backup_pb2.BackupRecord())
        except (json_format.ParseError, TypeError, ValueError, RecursionError) as e:
            raise CliError(f"line {number} is not a backup record: {safe(e)}") from e
        count += 1
        yield record
    if not ended:
        raise CliError(
            f"the backup is truncated: no trailer after line {count}",
            hint="All records before that were restored.",
        )


def _json(number: int, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise CliError(f"line {number} is not valid JSON: {safe(e)}", hint="The file is damaged or truncated.") from e


def _end(data: object) -> int | None:
    if not isinstance(data, dict) or not isinstance(data.get("end"), dict):
        return None
    found = data["end"].get("records")
    return found if isinstance(found, int) else None
