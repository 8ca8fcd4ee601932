"""Stored records that cannot be decoded: quarantined, logged and counted, so that none of them stops a service.

A quarantined record stays in its bucket unchanged and is treated as missing; a later write of its key replaces it.
Followers of a bucket call `try_decode`, lookups of one key call `decode`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message
from opentelemetry import metrics

from services.chassis.errors import UnreadableRecordError
from services.chassis.logs import Throttle
from services.chassis.requests import check_times

MAX_QUARANTINED = 1000
"""Maximum quarantined records that are listed; the counter has all of them."""
T = TypeVar("T")
_log = logging.getLogger(__name__)
_throttle = Throttle()
_counter = metrics.get_meter("yggdrasil").create_counter(
    "ygg.records.unreadable", description="Stored records that could not be decoded, by bucket"
)
_quarantine: OrderedDict[tuple[str, str], str] = OrderedDict()


def decode(bucket: str, key: str, data: bytes, parse: Callable[[bytes], T]) -> T:
    """Return the parsed record; raises UnreadableRecordError (DATA_LOSS) if parsing fails or a time is out of range."""
    try:
        record = parse(data)
        if isinstance(record, Message):
            check_times(record)
        return record
    except Exception as e:
        why = f"{type(e).__name__}: {e}"
        _quarantine_record(bucket, key, why)
        raise UnreadableRecordError(
            f"the record {bucket}/{key} cannot be decoded",
            hint="Write or restore it again; the service's log has the reason.",
            bucket=bucket,
            key=key,
        ) from e


def try_decode(bucket: str, key: str, data: bytes, parse: Callable[[bytes], T]) -> T | None:
    """Return the parsed data, or None if the record cannot be decoded."""
    try:
        return decode(bucket, key, data, parse)
    except UnreadableRecordError:
        return None


def quarantined() -> dict[str, str]:
    """Return the last MAX_QUARANTINED undecodable records since the start, `bucket/key`, with the reason."""
    return {f"{bucket}/{key}": why for (bucket, key), why in _quarantine.items()}


def _quarantine_record(bucket: str, key: str, why: str) -> None:
    _counter.add(1, {"bucket": bucket})
    _quarantine[bucket, key] = why
    _quarantine.move_to_end((bucket, key))
    if len(_quarantine) > MAX_QUARANTINED:
        _quarantine.popitem(last=False)
    _throttle.log(_log, logging.ERROR, "record quarantined", about=bucket, key=key, why=why[:200])
