"""The store of an instance over a change of owners: a write of the previous owner is always fenced."""

from __future__ import annotations

import pytest

from services.chassis import nats as chassis_nats
from services.chassis.clock import SystemClock
from services.chassis.errors import RevisionConflictError
from services.loki.adapters.program_records import NatsRecords
from services.loki.programs.errors import FencedError
from services.loki.programs.placement import Ref
from tests.fixtures.nats import Connect

REF = Ref("keeper", "porch-1")


async def replica(connect: Connect, name: str) -> NatsRecords:
    records = NatsRecords(name, chassis_nats.jetstream(await connect("loki")), SystemClock())
    await records.open()
    return records


@pytest.mark.parametrize("kept", [{}, {"n": 1}], ids=["nothing kept", "something kept"])
async def test_write_of_earlier_owner_is_fenced(connect_fresh_nats: Connect, kept: dict[str, int]) -> None:
    one, two = await replica(connect_fresh_nats, "one"), await replica(connect_fresh_nats, "two")
    before = await one.open_store(REF, 1)
    if kept:
        await before.write(dict(kept))
    after = await two.open_store(REF, 2)
    assert after.entries == kept
    with pytest.raises(FencedError):
        await before.write({"n": 99})
    await after.write({"n": 2})
    assert (await two.open_store(REF, 3)).entries == {"n": 2}


async def test_ended_epoch_cannot_open_a_store(connect_fresh_nats: Connect) -> None:
    one, two = await replica(connect_fresh_nats, "one"), await replica(connect_fresh_nats, "two")
    await two.open_store(REF, 5)
    with pytest.raises(RevisionConflictError):
        await one.open_store(REF, 4)
