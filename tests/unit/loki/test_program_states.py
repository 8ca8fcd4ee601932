"""Which changes of an instance's state are written for the other replicas, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from services.loki.programs.lifecycle import State
from services.loki.programs.manager import PASSING_S, Manager
from services.loki.programs.placement import Ref

REF = Ref("blink", "porch-1")


def passes(state: State, age_s: float) -> bool:
    clock: Any = SimpleNamespace(monotonic=lambda: 100.0 + age_s)
    nothing: Any = SimpleNamespace(place=None)
    manager = Manager("r", nothing, nothing, nothing, nothing, nothing, nothing, clock)
    instance: Any = SimpleNamespace(state=state, since_s=100.0)
    manager.local[REF] = instance
    return manager._passes(REF)


def test_only_a_short_start_is_not_reported() -> None:
    assert passes(State.STARTING, 0.0)
    assert not passes(State.STARTING, PASSING_S)
    assert not any(passes(state, 0.0) for state in State if state is not State.STARTING)
