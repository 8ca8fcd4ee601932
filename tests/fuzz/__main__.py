"""`python -m tests.fuzz --seconds 60`: hypothesis on the bridge's side of the device link.

Two thirds of the time are spent on targets that take bytes, mutated from the corpus; one third on the session model.
With `--keep`, inputs with a new outcome are added to tests/fuzz/corpus/; failing inputs always are.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterator

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz import corpus
from tests.fuzz.machine import SessionMachine
from tests.fuzz.targets import TARGETS

BATCH, SCENARIOS, STEPS = 100, 10, 30
QUIET = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    print_blob=False,
)


@st.composite
def mutated(draw: st.DrawFn, known: list[bytes]) -> bytes:
    """Draw one or two inputs of the corpus with a few bytes changed, deleted, repeated or inserted."""
    data = bytearray(draw(st.sampled_from(known)))
    if draw(st.booleans()):
        data += draw(st.sampled_from(known))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data[at : at + length] = draw(st.binary(max_size=8))
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length] * draw(st.integers(1, 40))
        elif at < len(data):
            data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 0x80, data[at] + 1 & 0xFF]))
    return bytes(data)


class Fuzzer:
    """Runs a target that takes bytes."""

    def __init__(self, name: str, target: Callable[[bytes], str], keep: bool) -> None:
        self.name, self._target, self._keep = name, target, keep
        self.examples = self.failures = 0
        self._known = corpus.load(name)
        self._outcomes = {target(data) for data in self._known}
        self._new: list[bytes] = []
        self._last = b""

    def batch(self) -> None:
        """Run a batch of examples and print a failure."""
        self._known += self._new
        self._new = []
        strategy = st.one_of(mutated(self._known), mutated(self._known), st.binary(max_size=600))

        @seed(secrets.randbits(64))
        @settings(QUIET, max_examples=BATCH)
        @given(strategy)
        def examples(data: bytes) -> None:
            self._one(data)

        try:
            examples()
        except Exception:  # any exception is a finding
            self._report()

    def _one(self, data: bytes) -> None:
        self.examples += 1
        self._last = data
        outcome = self._target(data)
        if outcome not in self._outcomes:
            self._outcomes.add(outcome)
            self._new.append(data)
            if self._keep:
                corpus.keep(self.name, data)

    def _report(self) -> None:
        self.failures += 1
        where = corpus.keep(self.name, self._last)
        sys.stdout.write(f"{self.name}: FAILED on {where}\n{traceback.format_exc()}\n")


class Scenarios:
    """Runs the model of a session."""

    name = "machine"

    def __init__(self) -> None:
        self.failures = 0

    @property
    def examples(self) -> int:
        """Number of sessions run."""
        return SessionMachine.examples

    def batch(self) -> None:
        """Run a batch of scenarios and print a failure."""
        found = settings(QUIET, max_examples=SCENARIOS, stateful_step_count=STEPS)
        try:
            run_state_machine_as_test(seed(secrets.randbits(64))(SessionMachine), settings=found)
        except Exception:  # any exception is a finding
            self.failures += 1
            sys.stdout.write(f"{self.name}: FAILED\n{traceback.format_exc()}\n")


def _schedule(fuzzers: list[Fuzzer], scenarios: Scenarios) -> Iterator[Fuzzer | Scenarios]:
    """Yield the runner that has used the least of its share of time."""
    runners: list[Fuzzer | Scenarios] = [*fuzzers, scenarios]
    spent = {runner.name: 0.0 for runner in runners}
    share = {runner.name: 2.0 if runner is scenarios else 1.0 for runner in runners}
    while True:
        runner = min(runners, key=lambda one: spent[one.name] / share[one.name])
        started = time.monotonic()
        yield runner
        spent[runner.name] += time.monotonic() - started


def main() -> int:
    """Fuzz for the given time; return 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--keep", action="store_true", help="add inputs with a new outcome to tests/fuzz/corpus/")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    until = time.monotonic() + chosen.seconds
    fuzzers = [Fuzzer(name, target, chosen.keep) for name, target in TARGETS.items()]
    scenarios = Scenarios()
    for runner in itertools.takewhile(lambda _: time.monotonic() < until, _schedule(fuzzers, scenarios)):
        runner.batch()
    runners: list[Fuzzer | Scenarios] = [*fuzzers, scenarios]
    for one in runners:
        sys.stdout.write(f"  {one.name}: {one.examples} examples, {one.failures} failures\n")
    failures = sum(one.failures for one in runners)
    sys.stdout.write(f"{sum(one.examples for one in runners)} examples, {failures} failures\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
