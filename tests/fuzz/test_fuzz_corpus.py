"""Regression run of the fuzz corpus and of some sessions of the model.

`python -m tests.fuzz` (make fuzz) searches for new inputs.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from services.jotunheim_bridge.service.session import Session
from tests.fuzz import corpus
from tests.fuzz.machine import SessionMachine
from tests.fuzz.targets import TARGETS
from yggdrasil.device.v1 import link_pb2 as link

FEW = settings(
    phases=[Phase.generate],
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
)


@pytest.mark.parametrize("name", TARGETS)
def test_target_accepts_every_corpus_input(name: str) -> None:
    inputs = corpus.load(name)
    assert len(inputs) > 5
    for data in inputs:
        TARGETS[name](data)


def test_session_model_keeps_its_invariants() -> None:
    run_state_machine_as_test(SessionMachine, settings=FEW)


def test_session_model_detects_premature_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Session._on_event

    def premature(self: Session, frame: link.Event) -> None:
        original(self, frame)
        self.wire.send(link.Frame(event_ack=link.EventAck(sequence=frame.sequence)))

    monkeypatch.setattr(Session, "_on_event", premature)
    with pytest.raises(AssertionError, match=r"not stored|goes back"):
        run_state_machine_as_test(SessionMachine, settings=settings(FEW, max_examples=500))


def test_session_model_detects_calls_beyond_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.jotunheim_bridge.service.call_table.len", lambda _: 0, raising=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(SessionMachine, settings=settings(FEW, max_examples=500))
