"""A restore onto existing records, for any two meshes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.service.backup import Backups, Progress, RecordKind, StoredRecord
from tests.fakes.backup import MemoryBackup


class NoIndex:
    """Nothing is read back by an index here."""

    async def reached(self, bucket: str, revision: int) -> None:
        """At once."""


PLAIN = [kind for kind in RecordKind if kind is not RecordKind.CONTRACT]
plain = st.builds(StoredRecord, st.sampled_from(PLAIN), st.sampled_from("abc"), st.binary(min_size=1, max_size=1))
# A mesh's contracts: for each device a first kept revision and what each revision says.
histories = st.dictionaries(
    st.sampled_from("abc"),
    st.tuples(st.integers(1, 3), st.lists(st.sampled_from([b"x", b"y"]), min_size=1, max_size=4)),
)


@st.composite
def meshes(draw: st.DrawFn) -> list[StoredRecord]:
    records = {(kept.kind, kept.key): kept for kept in draw(st.lists(plain, max_size=6))}
    found = list(records.values())
    for device_id, (first, bodies) in draw(histories).items():
        found += [StoredRecord(RecordKind.CONTRACT, device_id, body, first + n) for n, body in enumerate(bodies)]
    return found


def restored(
    store: MemoryBackup, records: Sequence[StoredRecord], *, overwrite: bool = False, batch: int = 1000
) -> Progress:
    async def run() -> Progress:
        restore = Backups(store, NoIndex()).restore(overwrite=overwrite)  # type: ignore[arg-type]
        for start in range(0, len(records), batch):
            await restore.write(records[start : start + batch])
        return await restore.finish()

    return asyncio.run(run())


def everything(store: MemoryBackup) -> list[StoredRecord]:
    async def run() -> list[StoredRecord]:
        return [kept async for kept, _, _ in Backups(store, NoIndex()).backup()]  # type: ignore[arg-type]

    return asyncio.run(run())


def newest(records: Sequence[StoredRecord]) -> dict[tuple[RecordKind, str], StoredRecord]:
    """The last record of each key."""
    return {(kept.kind, kept.key): kept for kept in records}


def filled(records: Sequence[StoredRecord]) -> MemoryBackup:
    store = MemoryBackup()
    restored(store, records)
    return store


@given(meshes(), st.integers(1, 4))
def test_into_an_empty_mesh_everything_is_written_and_then_equal(records: list[StoredRecord], batch: int) -> None:
    store = MemoryBackup()
    first = restored(store, records, batch=batch)
    assert (first.written, first.equal, first.different) == (len(records), 0, 0)
    taken = everything(store)
    assert sorted(map(repr, taken)) == sorted(map(repr, records))
    again = restored(store, taken)
    assert (again.written, again.equal, again.different) == (0, len(records), 0)
    assert everything(store) == taken


@given(meshes(), meshes())
def test_restore_keeps_existing_records_by_default(there: list[StoredRecord], records: list[StoredRecord]) -> None:
    store = filled(there)
    before = everything(store)
    done = restored(store, records)
    assert done.written + done.equal + done.different == len(records)
    assert len(done.differing) == done.different
    assert set(before) <= set(everything(store))
    assert restored(store, records).written == 0


@given(meshes(), meshes())
def test_a_contract_is_never_a_mixture_of_two_that_differ(
    there: list[StoredRecord], records: list[StoredRecord]
) -> None:
    store = filled(there)
    restored(store, records)
    for device_id in "abc":
        mine = [k for k in there if k.kind is RecordKind.CONTRACT and k.key == device_id]
        theirs = {k.revision: k for k in records if k.kind is RecordKind.CONTRACT and k.key == device_id}
        found = [k for k in everything(store) if k.kind is RecordKind.CONTRACT and k.key == device_id]
        if any(theirs.get(k.revision, k) != k for k in mine):
            assert found[: len(mine)] == mine
            clash = min(k.revision for k in mine if theirs.get(k.revision, k) != k)
            assert not [k for k in found[len(mine) :] if k.revision > clash]


@given(meshes(), meshes())
def test_overwriting_restore_replaces_writable_records(there: list[StoredRecord], records: list[StoredRecord]) -> None:
    store = filled(there)
    before = newest(everything(store))
    done = restored(store, records, overwrite=True)
    assert done.written + done.equal + done.different + done.newer == len(records)
    after = newest(everything(store))
    for key, kept in newest(records).items():
        later_here = key in before and before[key].revision > kept.revision and after[key] == before[key]
        assert after[key].data == kept.data or str(kept) in done.differing or later_here
    assert restored(store, records, overwrite=True).written == 0


@given(meshes(), meshes(), st.booleans())
def test_restore_never_lowers_a_revision(
    there: list[StoredRecord], records: list[StoredRecord], overwrite: bool
) -> None:
    store = filled(there)
    before = newest(everything(store))
    restored(store, records, overwrite=overwrite)
    after = newest(everything(store))
    assert all(after[key].revision >= kept.revision for key, kept in before.items())
    history = [kept.revision for kept in everything(store) if (kept.kind, kept.key) == (RecordKind.CONTRACT, "a")]
    assert history == sorted(set(history))


@pytest.mark.parametrize("overwrite", [False, True])
def test_restore_keeps_reported_state_of_device(overwrite: bool) -> None:
    reported = StoredRecord(RecordKind.TWIN_REPORTED, "a", b"here", from_device=True)
    store = filled([reported])
    done = restored(store, [StoredRecord(RecordKind.TWIN_REPORTED, "a", b"backup")], overwrite=overwrite)
    assert (done.written, done.newer) == (0, 1)
    assert everything(store) == [reported]


def test_expired_revisions_are_reported_and_skipped() -> None:
    kept = [StoredRecord(RecordKind.CONTRACT, "a", b"x", revision) for revision in (1, 2, 3, 4)]
    store = filled(kept[2:])
    done = restored(store, kept, overwrite=True)
    assert (done.written, done.equal, done.differing) == (0, 2, ["contract 1 of a", "contract 2 of a"])
