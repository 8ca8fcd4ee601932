"""What fuzzing has kept or found, run again: every input of the corpus, and some sessions of the model.

`python -m tests.fuzz` (make fuzz) is what looks for more.
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
def test_every_input_of_the_corpus_still_passes(name: str) -> None:
    inputs = corpus.load(name)
    assert len(inputs) > 5
    for data in inputs:
        TARGETS[name](data)


def test_sessions_keep_their_invariants() -> None:
    run_state_machine_as_test(SessionMachine, settings=FEW)


def test_the_model_notices_an_acknowledgement_that_comes_before_the_event_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = Session._on_event

    def hasty(self: Session, frame: link.Event) -> None:
        taken(self, frame)
        self.wire.send(link.Frame(event_ack=link.EventAck(sequence=frame.sequence)))

    monkeypatch.setattr(Session, "_on_event", hasty)
    with pytest.raises(AssertionError, match=r"not stored|goes back"):
        run_state_machine_as_test(SessionMachine, settings=settings(FEW, max_examples=500))


def test_the_model_notices_calls_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.jotunheim_bridge.service.call_table.len", lambda _: 0, raising=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(SessionMachine, settings=settings(FEW, max_examples=500))
