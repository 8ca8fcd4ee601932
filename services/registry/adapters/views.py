"""Rows of the index as messages to send, and as facts to match queries against.

A message is concatenated from the bytes of its parts, which protobuf parses as one: the device's own fields, those that
it shares with others, and its presence.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.chassis import records
from services.chassis.access import access_of
from services.chassis.buckets import DEVICES
from services.registry.adapters.catalogue import Catalogue
from services.registry.ports import Facts
from yggdrasil.registry.v1 import registry_pb2 as pb

_DEVICES = """
SELECT d.id, d.revision, d.device, c.body, c.build, c.contract_revision, s.device FROM json_each(?) j
CROSS JOIN devices d ON d.id = j.value LEFT JOIN contracts c ON c.id = d.id LEFT JOIN sessions s ON s.id = d.id
WHERE d.state IS NOT NULL
"""
_NO_PRESENCE = pb.Device(presence=pb.Presence()).SerializeToString()


@dataclass(frozen=True, slots=True)
class Views:
    """Messages and facts. Use only in the thread of the connection."""

    db: sqlite3.Connection
    catalogue: Catalogue

    def messages(self, device_ids: Collection[str]) -> list[pb.Device]:
        """Return the messages of those devices that exist, in the order of the ids."""
        messages = []
        for device_id, revision, device, body, build, contract_revision, presence in self._rows(device_ids):
            shared = self.catalogue.fragment(body, build) if body is not None else b""
            data = device + shared + (presence or _NO_PRESENCE)
            message = records.try_decode(DEVICES.name, device_id, data, pb.Device.FromString)
            if message is None:
                continue
            message.revision, message.contract_revision = revision, contract_revision or 0
            messages.append(message)
        return messages

    def facts(self, device_ids: Collection[str]) -> Mapping[str, Facts]:
        """Return the facts of those devices that exist."""
        found: dict[str, Facts] = {}
        for device_id, _, device, body, _, _, presence in self._rows(device_ids):
            contract = self.catalogue.contract(body) if body is not None else None
            message = records.try_decode(DEVICES.name, device_id, device + (presence or b""), pb.Device.FromString)
            if message is None:
                continue
            state = access_of(message).state
            found[device_id] = Facts(dict(message.labels), message.presence.online, contract, state)
        return found

    def _rows(self, device_ids: Collection[str]) -> Sequence[tuple[Any, ...]]:
        return self.db.execute(_DEVICES, (json.dumps(list(device_ids)),)).fetchall() if device_ids else []
