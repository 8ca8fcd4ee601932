"""The index on a full disk: the registry keeps running, and recovers when space is available."""

import asyncio
from pathlib import Path

import pytest

from services.registry.adapters import index as index_module
from services.registry.adapters.index import SqliteIndex
from services.registry.errors import IndexDiskError
from services.registry.ports import Query
from tests.fixtures.disk import Disks
from tests.fixtures.wait import eventually
from tests.unit.registry.registry_streams import CREATED, Streams, opened


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "DISK_RETRY_S", 0.01)


async def ids(index: SqliteIndex) -> list[str]:
    return [device.id for device in await index.find(Query())]


async def test_index_waits_for_room_and_is_read_meanwhile(
    disk: Disks, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    small, streams = disk("256m"), Streams(1)
    streams.write()
    index = opened(small.path / "index.db", streams)
    await streams.bring(index)
    before = await ids(index)

    small.fill()
    streams.write(40)
    bringing = asyncio.create_task(streams.bring(index))
    await eventually(lambda: "index write failed" in caplog.text)
    assert not bringing.done()
    assert await ids(index) == before

    small.release()
    await bringing
    whole = opened(tmp_path / "other.db", streams)
    await streams.bring(whole)
    assert await ids(index) == await ids(whole) != before
    await index.close()
    await whole.close()


async def test_index_opens_only_when_the_disk_has_room(disk: Disks) -> None:
    small, streams = disk("256m"), Streams(2)
    streams.write()
    index = SqliteIndex(small.path / "data" / "index.db")
    small.fill()
    with pytest.raises(IndexDiskError, match="cannot be written"):
        index.open(CREATED, streams.last())
    small.release()
    assert index.open(CREATED, streams.last()) is False
    index.load(streams, streams.last())  # type: ignore[arg-type]  # it reads as a StreamReader does
    assert await ids(index)
    await index.close()
