"""How long the command waits for a run: never less than loki itself may need to answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.loki.config import LokiSettings
from ygg import registered, scripts
from ygg.exits import CliError


class Recorder:
    """A mesh that records the deadlines of calls and sends none."""

    def __init__(self) -> None:
        self.timeout_s = 0.0

    def channel(self, _service: str) -> Recorder:
        return self

    def unary_stream(self, *_path: Any, **_options: Any) -> Any:
        return self.opened

    unary_unary = stream_stream = unary_stream

    def opened(self, _request: Any, timeout: float) -> Iterator[Any]:
        self.timeout_s = timeout
        return iter(())

    def stream(self, _service: str, responses: Iterator[Any]) -> Iterator[Any]:
        return responses


def longest_queue_s() -> float:
    """The most that YGG_LOKI_QUEUE_WAIT_S can be."""
    bounds = LokiSettings.model_fields["queue_wait_s"].metadata
    return float(next(bound.le for bound in bounds if hasattr(bound, "le")))


def test_deadline_of_run_exceeds_time_limit_and_queue() -> None:
    mesh: Any = Recorder()
    run = scripts.Run("return 1", "lua", "x.lua", timeout_s=20.0)
    with pytest.raises(CliError):
        scripts.execute(mesh, run, lambda line: None)
    assert mesh.timeout_s > run.timeout_s + longest_queue_s()


def test_deadline_of_registered_run_exceeds_max_and_queue() -> None:
    mesh: Any = Recorder()
    with pytest.raises(CliError):
        registered.run(mesh, "blink", "", {}, lambda line: None)
    assert mesh.timeout_s > 300.0 + longest_queue_s()
