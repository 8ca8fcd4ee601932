"""The index: the same in bulk and one by one, results like a scan, watches that report each change once."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.chassis.bulk import Change
from services.chassis.errors import StoreUnavailableError
from services.domain.matcher import match
from services.domain.requirements import parse_requirement
from services.domain.selectors import parse_selector
from services.registry.adapters import files
from services.registry.adapters import index as index_module
from services.registry.adapters.index import SqliteIndex
from services.registry.model import DeviceState
from services.registry.ports import Position, Query
from tests.unit.registry.registry_streams import CREATED, DEVICES, Streams, opened

SEEDS = range(8)
QUERIES = [
    Query(),
    Query(after="dev-3"),
    Query(limit=3),
    Query(selector=parse_selector("zone=hall")),
    Query(selector=parse_selector("zone=hall,floor in (0,1)")),
    Query(selector=parse_selector("zone!=hall,tag")),
    Query(selector=parse_selector("!tag,floor notin (1)")),
    Query(selector=parse_selector("nothing")),
    Query(selector=parse_selector("!nothing")),
    Query(selector=parse_selector("zone=nowhere")),
    Query(has=(parse_requirement("sensor.temperature@2+"),)),
    Query(has=(parse_requirement("sensor.temperature{value -3..10}"), parse_requirement("actuator.led"))),
    Query(has=(parse_requirement("sensor.humidity"),)),
    Query(has=(parse_requirement("actuator.led"),), selector=parse_selector("zone=porch"), online=True),
    Query(online=True),
    Query(online=False),
    Query(states=frozenset({DeviceState.SUSPENDED})),
    Query(states=frozenset({DeviceState.ACTIVE}), online=True, limit=2),
]


def naive(streams: Streams, query: Query) -> list[str]:
    """A look at every device."""
    found = []
    for name, device in streams.known().items():
        assert device.record is not None
        have = streams.contracts[device.contract].capabilities if device.contract is not None else ()
        if (
            name > query.after
            and query.selector.matches(device.record.labels)
            and all(match(wanted, have).capability_id for wanted in query.has)
            and query.online in (None, device.online)
            and (not query.states or device.record.state in query.states)
        ):
            found.append(name)
    return found[: query.limit]


async def check(index: SqliteIndex, streams: Streams) -> None:
    """Every query, and every device as it is shown."""
    for query in QUERIES:
        assert [device.id for device in await index.find(query)] == naive(streams, query), query
    shown = {device.id: device for device in await index.find(Query(limit=1000))}
    for name, device in streams.known().items():
        view = await index.get(name)
        assert view is not None
        assert view.record == device.record
        assert (view.presence.online, view.build.model) == (device.online, "" if device.contract is None else "board")
        have = streams.contracts[device.contract].capabilities if device.contract is not None else ()
        assert [(c.id, c.version) for c in shown[name].capabilities] == [(c.id, c.version) for c in have]


@pytest.mark.parametrize("seed", SEEDS)
async def test_in_bulk_and_one_by_one_are_the_same(seed: int, tmp_path: Path) -> None:
    streams = Streams(seed)
    slow = opened(tmp_path / "slow.sqlite", streams)
    for _ in range(120):
        streams.write()
        await streams.bring(slow, streams.rng.randrange(1, 4))
    await streams.bring(slow)
    await check(slow, streams)
    fast = opened(tmp_path / "fast.sqlite", streams)
    await check(fast, streams)
    assert fast.position() == slow.position()
    everything = (
        "SELECT id, revision FROM devices UNION ALL SELECT id, label FROM labels JOIN label_names ON no = label"
    )
    assert len(fast._db.execute(everything).fetchall()) == len(slow._db.execute(everything).fetchall())
    for index in (fast, slow):
        await index.close()


async def test_index_resumes_or_restarts_for_other_streams(tmp_path: Path) -> None:
    streams = Streams(1)
    first = opened(tmp_path / "index.sqlite", streams)
    for _ in range(60):
        streams.write()
    await streams.bring(first)
    await first.close()
    for _ in range(60):
        streams.write()
    second = SqliteIndex(tmp_path / "index.sqlite")
    assert second.open(CREATED, streams.last())
    assert second.position() == first.position()
    second.catch_up(streams, streams.last())  # type: ignore[arg-type]
    await check(second, streams)
    await second.close()
    third = SqliteIndex(tmp_path / "index.sqlite")
    assert not third.open({**CREATED, DEVICES: "made again"}, streams.last())
    await third.close()


@pytest.mark.parametrize("damage", ["cut", "noise", "deleted", "leftovers", "unfinished"])
async def test_incomplete_file_is_rebuilt(damage: str, tmp_path: Path) -> None:
    path, streams = tmp_path / "index.sqlite", Streams(2)
    for _ in range(80):
        streams.write()
    if damage == "unfinished":
        index = SqliteIndex(path)
        index.open(CREATED, streams.last())  # killed before `load` came to its end
        await index.close()
    else:
        await opened(path, streams).close()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "noise":
        path.write_bytes(b"no database at all" * 100)
    elif damage in ("deleted", "leftovers"):
        path.unlink()
    if damage == "leftovers":
        path.with_name("index.sqlite-wal").write_bytes(b"of another time" * 100)
    again = opened(path, streams)
    await check(again, streams)
    await again.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_watch_reports_each_change_once_on_any_replica(seed: int, tmp_path: Path) -> None:
    """Reports have the device and its revisions: none twice, and finally the current state of every device."""
    streams = Streams(seed)
    replicas = [opened(tmp_path / f"{number}.sqlite", streams) for number in range(2)]
    position = Position(replicas[0].position().epoch, (0, 0, 0))
    reported: dict[str, tuple[int, ...]] = {}
    for _ in range(250):
        for _ in range(streams.rng.randrange(4)):
            streams.write()
        replica = streams.rng.choice(replicas)
        await streams.bring(replica, streams.rng.randrange(6))
        if not replica.position().reaches(position):
            continue  # a watch there would wait
        changes, after = replica.changes(position, ())
        take = streams.rng.randrange(len(changes) + 1)  # the caller goes away in the middle
        for one in changes[:take]:
            at = tuple(_revisions(replica, one.device.id))
            assert reported.get(one.device.id) != at, f"{one.device.id} was reported twice"
            reported[one.device.id] = at
            position = one.position
        if take == len(changes):
            position = after
    last = replicas[0]
    await streams.bring(last)
    for one in last.changes(position, ())[0]:
        reported[one.device.id] = tuple(_revisions(last, one.device.id))
    for name, device in streams.devices.items():
        if device.revisions[0]:
            assert reported[name] == tuple(device.revisions), name
    for replica in replicas:
        await replica.close()


def _revisions(index: SqliteIndex, name: str) -> list[int]:
    found = [index._db.execute(f"SELECT revision FROM {t} WHERE id = ?", (name,)).fetchone() for t in _TABLES]
    return [row[0] if row else 0 for row in found]


_TABLES = ("devices", "contracts", "sessions")


async def test_a_watch_of_some_devices_passes_over_the_others(tmp_path: Path) -> None:
    streams = Streams(5)
    for _ in range(200):
        streams.write(40)
    index = opened(tmp_path / "index.sqlite", streams)
    begin = Position(index.position().epoch, (0, 0, 0))
    reported, after = index.changes(begin, {"dev-3", "dev-7", "nobody"})
    assert {one.device.id for one in reported} <= {"dev-3", "dev-7"}
    assert after == index.position()
    await index.close()


async def test_deleted_device_is_reported_by_id_and_revision(tmp_path: Path) -> None:
    streams = Streams(3)
    for _ in range(150):
        streams.write()
    index = opened(tmp_path / "index.sqlite", streams)
    reported, _ = index.changes(Position(index.position().epoch, (0, 0, 0)), ())
    gone = {name: device.revisions[0] for name, device in streams.devices.items() if device.record is None}
    assert {one.device.id: one.device.revision for one in reported if one.deleted} == {
        k: v for k, v in gone.items() if v
    }
    await index.close()


async def test_stale_file_is_rebuilt_or_caught_up_by_lag(tmp_path: Path) -> None:
    streams = Streams(8)
    for _ in range(40):
        streams.write()
    await opened(tmp_path / "index.sqlite", streams).close()
    for far, last in ((False, 9_000), (True, 30_000)):
        index = SqliteIndex(tmp_path / "index.sqlite")
        assert index.open(CREATED, {**streams.last(), DEVICES: last}) is not far
        await index.close()


async def test_catching_up_keeps_the_log_short(tmp_path: Path) -> None:
    streams = Streams(9)
    index = opened(tmp_path / "index.sqlite", streams)
    for _ in range(8_000):
        streams.write(900)
    index.catch_up(streams, streams.last())  # type: ignore[arg-type]
    await check(index, streams)
    assert (tmp_path / "index.sqlite-wal").stat().st_size < 40_000_000
    await index.close()


async def test_closing_stops_a_fill_and_next_start_restarts_it(tmp_path: Path) -> None:
    streams = Streams(6)
    for _ in range(300):
        streams.write()
    begun = threading.Event()

    class Slow(Streams):
        """Never ends unless stopped."""

        def read(self, stream: str, prefix: str, *, after: int, until: int) -> Iterator[Sequence[Change]]:
            """The same batch again and again."""
            for batch in streams.read(stream, prefix, after=after, until=until):
                while True:
                    begun.set()
                    yield batch

    index = SqliteIndex(tmp_path / "index.sqlite")
    assert not index.open(CREATED, streams.last())
    filling = asyncio.ensure_future(asyncio.to_thread(index.load, Slow(6), streams.last()))  # type: ignore[arg-type]
    await asyncio.to_thread(begun.wait, 5)
    await asyncio.wait_for(index.close(), 5)
    with pytest.raises((StoreUnavailableError, sqlite3.Error)):
        await filling
    again = opened(tmp_path / "index.sqlite", streams)
    await check(again, streams)
    await again.close()


async def test_the_bridges_that_hold_sessions_are_found_in_a_step_each(tmp_path: Path) -> None:
    streams = Streams(7)
    for _ in range(100):
        streams.write(30)
    index = opened(tmp_path / "index.sqlite", streams)
    online = [name for name, device in streams.devices.items() if device.online]
    assert await index.online_bridges() == ["b"]
    assert sorted(await index.sessions_of("b", 100)) == sorted(online)
    plan = index._db.execute(f"EXPLAIN QUERY PLAN {index_module._BRIDGES}").fetchall()
    assert not [row for row in plan if row[3].startswith("SCAN") and "found" not in row[3]], plan
    await index.close()


async def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    streams = Streams(4)
    for _ in range(50):
        streams.write()
    index = opened(tmp_path / "index.sqlite", streams)
    other = files.connect(tmp_path / "index.sqlite")
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM labels")
    assert [device.id for device in await index.find(Query())] == naive(streams, Query())
    other.execute("ROLLBACK")
    other.close()
    await index.close()
