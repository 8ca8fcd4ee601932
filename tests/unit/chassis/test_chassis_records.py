"""Records that cannot be decoded are quarantined, logged a few times and counted."""

from __future__ import annotations

import logging
from itertools import count

import pytest

from services.chassis import records
from services.chassis.errors import UnreadableRecordError
from services.chassis.logs import Throttle
from services.domain.errors import Code
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

BAD = b"\xff\xff\xff"


def test_a_record_that_can_be_read_is_returned() -> None:
    data = pb.StoredSession(schema=1).SerializeToString()
    assert records.try_decode("sessions", "one", data, pb.StoredSession.FromString) == pb.StoredSession(schema=1)


def test_a_record_that_cannot_be_read_is_quarantined(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert records.try_decode("sessions-a", "one", BAD, pb.StoredSession.FromString) is None
    assert "DecodeError" in records.quarantined()["sessions-a/one"]
    (line,) = caplog.records
    assert (line.getMessage(), vars(line)["about"], vars(line)["key"]) == ("record quarantined", "sessions-a", "one")


def test_the_answer_for_one_key_is_data_loss_that_names_it() -> None:
    with pytest.raises(UnreadableRecordError) as e:
        records.decode("sessions-b", "one", BAD, pb.StoredSession.FromString)
    assert (e.value.code, e.value.data) == (Code.DATA_LOSS, {"bucket": "sessions-b", "key": "one"})


def test_many_unreadable_records_write_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        for number in range(100):
            records.try_decode("sessions-c", str(number), BAD, pb.StoredSession.FromString)
    assert len(caplog.records) == Throttle.BURST
    assert len(records.quarantined()) <= records.MAX_QUARANTINED


def test_throttle_reports_number_of_dropped_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = count(0, 1)
    throttle, log = Throttle(lambda: float(next(now))), logging.getLogger("throttled")
    with caplog.at_level(logging.INFO):
        for _ in range(int(Throttle.PERIOD_S) + 1):
            throttle.log(log, logging.INFO, "handshake failed", about="192.0.2.1")
    assert len(caplog.records) == Throttle.BURST + 1
    assert vars(caplog.records[-1])["suppressed"] == int(Throttle.PERIOD_S) - Throttle.BURST


def test_throttle_bounds_each_subject_on_its_own(caplog: pytest.LogCaptureFixture) -> None:
    throttle, log = Throttle(lambda: 0.0), logging.getLogger("throttled")
    with caplog.at_level(logging.INFO):
        for number in range(3 * Throttle.BURST):
            throttle.log(log, logging.INFO, "handshake failed", about=f"192.0.2.{number % 2}")
    assert len(caplog.records) == 2 * Throttle.BURST
