"""The fleet of the benchmark: random ids, four labels each, 200 distinct contracts of 8 capabilities. Deterministic.

Contract 0 is the rare one, of one device in ten thousand; the others are evenly distributed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.domain.capability import Action, Capability, Event, Parameter, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms
from services.registry.adapters import records
from services.registry.model import Build, ContractRecord, DeviceRecord, DeviceState

CONTRACTS = 200
CAPABILITIES = 8
RARE_INTERVAL = 10_000
"""One device in this number has the rare contract."""
RARE_TYPE = "sensor.radiation"
UNKNOWN_TYPE = "sensor.gravity"
TYPES = [f"{group}.{name}" for group in ("sensor", "actuator", "meter", "store") for name in "abcdefghij"]
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LINK = LinkTerms(1, 4096, 4096, 4, 10_000)


@dataclass(frozen=True, slots=True)
class Entry:
    """One device: its record, and the number of its contract."""

    record: DeviceRecord
    contract: int


def _capability(rng: random.Random, number: int, semantic_type: str) -> Capability:
    low = float(rng.choice([-40, -20, 0]))
    value = Property("value", Schema(ValueType.DOUBLE, "Cel", low, low + rng.choice([50, 100, 165])), True, False, True)
    level = Property("level", Schema(ValueType.INT, "%", 0, 100), True, True)
    set_to = Action("set_to", (Parameter("level", Schema(ValueType.INT, "%", 0, 100)),))
    return Capability(
        f"cap{number}", semantic_type, rng.randint(1, 3), (value, level), (set_to,), (Event("passed_limit"),)
    )


def contracts() -> list[Contract]:
    """Return the distinct contracts; only number 0 has RARE_TYPE."""
    rng, made = random.Random(4), []
    for number in range(CONTRACTS):
        types = rng.sample(TYPES, CAPABILITIES)
        if number == 0:
            types[0] = RARE_TYPE
        offered = tuple(_capability(rng, n, kind) for n, kind in enumerate(types))
        made.append(Contract("", f"{number:064x}", offered, (), _LINK, "open", 1, "", _EPOCH))
    return made


def devices(count: int, seed: int = 4) -> Iterator[Entry]:
    """Yield `count` devices in random order."""
    rng = random.Random(seed)
    for number in range(count):
        labels = {
            "zone": f"zone-{rng.randrange(50)}",
            "floor": str(rng.randrange(20)),
            "tier": rng.choice("abc"),
            "batch": f"b{rng.randrange(5000)}",
        }
        contract = 0 if number % RARE_INTERVAL == 0 else 1 + rng.randrange(CONTRACTS - 1)
        made = _EPOCH + timedelta(seconds=number)
        yield Entry(DeviceRecord(f"{rng.getrandbits(64):016x}", DeviceState.ACTIVE, made, labels), contract)


@dataclass(slots=True)
class Stored:
    """The contracts as stored: each with its digest, and the bytes of its body."""

    contracts: list[Contract] = field(default_factory=contracts)
    bodies: dict[str, bytes] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Compute the digests."""
        for contract in self.contracts:
            body = records.body_to_bytes(contract)
            self.digests.append(records.body_digest(body))
            self.bodies[self.digests[-1]] = body

    def contract_bytes(self, device_id: str, number: int) -> bytes:
        """Return the StoredContract of a device."""
        shared = self.contracts[number]
        own = Contract(
            device_id, shared.document_digest, (), (), _LINK, "open", 1, self.digests[number], shared.negotiate_time
        )
        build = Build(f"board-{number % 7}", f"class-{number % 5}", f"1.{number % 9}.0", "AB"[number % 2])
        return records.contract_to_bytes(ContractRecord(own, build))
