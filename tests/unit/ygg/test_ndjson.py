"""A backup as a file: it reads as written, and every fault names its line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.codec import value_to_proto
from tests.fixtures.strategies import device_ids, member_ids, plain_values
from ygg import ndjson
from ygg.exits import CliError
from yggdrasil.registry.v1 import backup_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import twin_pb2 as tp

GROUP = pb.BackupRecord(group=rp.StoredGroup(schema=1, name="hall", selector="zone=hall", description="größe\n"))
records = st.one_of(
    st.builds(lambda data: pb.BackupRecord(document=pb.StoredDocument(digest="0" * 64, document=data)), st.binary()),
    st.builds(
        lambda name, labels: pb.BackupRecord(
            device=rp.StoredDevice(schema=1, id=name, state=rp.DEVICE_STATE_ACTIVE, labels=labels)
        ),
        device_ids,
        st.dictionaries(member_ids, member_ids, max_size=3),
    ),
    st.builds(
        lambda name, value: pb.BackupRecord(
            twin_desired=tp.StoredTwin(
                schema=1,
                device_id=name,
                revision=2**63 + 1,
                properties=[tp.StoredTwinProperty(capability_id="a", property="b", value=value_to_proto(value))],
            )
        ),
        device_ids,
        plain_values,
    ),
)


def text(*found: pb.BackupRecord) -> str:
    return "".join(map(ndjson.line, found)) + ndjson.end(len(found))


def read(data: str) -> list[pb.BackupRecord]:
    return list(ndjson.records(io.BytesIO(data.encode())))


@given(st.lists(records, max_size=5))
def test_records_survive_the_file(found: list[pb.BackupRecord]) -> None:
    data = text(*found)
    assert data.count("\n") == len(found) + 1
    assert ndjson.check(io.BytesIO(data.encode()), "x") == len(found)
    assert read(data) == found


def test_equal_records_are_equal_lines_in_any_label_order() -> None:
    labels = {f"key{n}": str(n) for n in range(9)}
    one, other = (
        pb.BackupRecord(device=rp.StoredDevice(schema=1, id="a", state=rp.DEVICE_STATE_ACTIVE, labels=dict(pairs)))
        for pairs in (labels.items(), reversed(labels.items()))
    )
    assert ndjson.line(one) == ndjson.line(other)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "no trailer after line 0"),
        (ndjson.line(GROUP), "no trailer after line 1"),
        (ndjson.line(GROUP) + "{\n", "line 2 is not valid JSON"),
        (ndjson.line(GROUP) + "[]\n", "line 2 is not a backup record"),
        (ndjson.line(GROUP) + '{"robot": {}}\n', "line 2 is not a backup record"),
        (ndjson.line(GROUP) + '{"device": {"id": 7}}\n', "line 2 is not a backup record"),
        (ndjson.line(GROUP) + ndjson.end(2), "line 2: trailer says 2 records, found 1"),
        (text(GROUP) + ndjson.line(GROUP), "line 3 follows the trailer"),
        ("x" * (ndjson.MAX_LINE + 1), "line 1 is longer than 4 MiB"),
        ("\x00\n", "line 1 is not valid JSON"),
    ],
)
def test_a_fault_names_its_line(data: str, says: str) -> None:
    with pytest.raises(CliError) as caught:
        read(data)
    assert says in caught.value.message


@pytest.mark.parametrize("cut", [1, 5, 30, 60])
def test_truncated_file_is_detected_before_restore(cut: int) -> None:
    whole = text(GROUP, GROUP)
    with pytest.raises(CliError) as caught:
        ndjson.check(io.BytesIO(whole[:-cut].encode()), "x")
    assert "truncated" in caught.value.message


def test_missing_line_is_detected_before_restore() -> None:
    lines = text(GROUP, GROUP).splitlines(keepends=True)
    with pytest.raises(CliError) as caught:
        ndjson.check(io.BytesIO("".join(lines[1:]).encode()), "x")
    assert "has 1 record, but its trailer (line 2) says 2" in caught.value.message
    with pytest.raises(CliError):
        ndjson.check(io.BytesIO(b""), "x")
