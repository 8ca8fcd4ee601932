"""The buckets' streams as the index reads them, made up at random: writes, changes and deletions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from services.chassis.bulk import Change
from services.domain.capability import Capability, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms
from services.registry.adapters import records, rows
from services.registry.adapters.index import SqliteIndex
from services.registry.model import Build, ContractRecord, DeviceRecord, DeviceState
from yggdrasil.jotunheim.v1 import bridge_pb2

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
LINK = LinkTerms(1, 1024, 1024, 2, 1000)
CREATED = {stream: f"made with {stream}" for stream in rows.STREAMS}
DEVICES, CONTRACTS, SESSIONS = (bucket.spec.stream for bucket in rows.DEVICE_BUCKETS)
BODIES = rows.BODIES.stream


def contract(number: int) -> Contract:
    """One of some distinct contracts."""
    value = Property("value", Schema(ValueType.DOUBLE, "Cel", -float(number), 50), observable=True)
    temperature = Capability("temp0", "sensor.temperature", 1 + number % 3, (value,))
    lamp = (Capability("led0", "actuator.led", 1),) if number % 2 else ()
    return Contract("", f"{number:064x}", (temperature, *lamp), (), LINK, "open", 1, "", WHEN)


@dataclass
class Device:
    """The state of a device at some moment; None for a missing key."""

    record: DeviceRecord | None = None
    contract: int | None = None
    online: bool = False
    revisions: list[int] = field(default_factory=lambda: [0, 0, 0])


class Streams:
    """All changes of every stream, and the resulting state."""

    def __init__(self, seed: int, distinct: int = 6) -> None:
        self.rng = random.Random(seed)
        self.changes: dict[str, list[Change]] = {stream: [] for stream in rows.STREAMS}
        self.devices: dict[str, Device] = {}
        self.contracts = [contract(number) for number in range(distinct)]
        self._digests = []
        for one in self.contracts:
            body = records.body_to_bytes(one)
            self._digests.append(records.body_digest(body))
            self._write(BODIES, self._digests[-1], body)

    def _write(self, stream: str, key: str, data: bytes, deleted: bool = False) -> int:
        sequence = len(self.changes[stream]) + 1
        self.changes[stream].append(Change(key, sequence, data, deleted))
        return sequence

    def write(self, names: int = 12) -> None:
        """One random change of one of so many devices."""
        name = f"dev-{self.rng.randrange(names)}"
        device = self.devices.setdefault(name, Device())
        number = self.rng.choices(range(3), (6, 2, 3))[0]
        deleted = self.rng.random() < 0.1
        device.revisions[number] = [self._write_device, self._write_contract, self._write_session][number](
            name, device, deleted
        )

    def _write_device(self, name: str, device: Device, deleted: bool) -> int:
        if deleted:
            device.record = None
            return self._write(DEVICES, name, b"", True)
        labels = {"zone": self.rng.choice(["hall", "porch"]), "floor": str(self.rng.randrange(3)), "tag": "x"}
        kept = {key: value for key, value in labels.items() if self.rng.random() < 0.7}
        state = self.rng.choice([DeviceState.ACTIVE, DeviceState.SUSPENDED])
        device.record = DeviceRecord(name, state, WHEN, kept)
        sequence = self._write(DEVICES, name, records.device_to_bytes(device.record))
        device.record = replace(device.record, revision=sequence)
        return sequence

    def _write_contract(self, name: str, device: Device, deleted: bool) -> int:
        if deleted:
            device.contract = None
            return self._write(CONTRACTS, name, b"", True)
        device.contract = self.rng.randrange(len(self.contracts))
        shared = self.contracts[device.contract]
        own = replace(shared, device_id=name, digest=self._digests[device.contract])
        return self._write(CONTRACTS, name, records.contract_to_bytes(ContractRecord(own, Build("board", "c", "1.0"))))

    def _write_session(self, name: str, device: Device, deleted: bool) -> int:
        device.online = not deleted and self.rng.random() < 0.6
        session = bridge_pb2.Session(device_id=name, session_id="s", bridge_id="b", online=device.online)
        data = b"" if deleted else bridge_pb2.StoredSession(session=session).SerializeToString()
        return self._write(SESSIONS, name, data, deleted)

    def known(self) -> dict[str, Device]:
        """The devices that there are, by id in order."""
        return {name: device for name, device in sorted(self.devices.items()) if device.record is not None}

    def read(self, stream: str, prefix: str, *, after: int, until: int) -> Iterator[Sequence[Change]]:
        """As StreamReader does, a few at a time."""
        wanted = self.changes[stream][after:until]
        for begin in range(0, len(wanted), 5):
            yield wanted[begin : begin + 5]

    def last(self) -> dict[str, int]:
        """The last sequence of each stream."""
        return {stream: len(changes) for stream, changes in self.changes.items()}

    async def bring(self, index: SqliteIndex, most: int = 10**9) -> None:
        """Apply the pending changes, at most so many of each stream, as the follower does."""
        for stream in rows.STREAMS:
            after = index.applied(stream)
            found = self.changes[stream][after : after + most]
            if found:
                await index.apply(stream, found)


def opened(path: Path, streams: Streams) -> SqliteIndex:
    """An index on that file, filled in bulk if it is new."""
    index = SqliteIndex(path)
    if not index.open(CREATED, streams.last()):
        index.load(streams, streams.last())  # type: ignore[arg-type]  # it reads as a StreamReader does
    return index
