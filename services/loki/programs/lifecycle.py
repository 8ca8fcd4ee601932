"""Where an instance is in its life, and how many errors it is allowed. Pure; the clock is the caller's.

    LOADED --claimed--> STARTING --suspended or done--> RUNNING --three errors in a row--> SUSPENDED
      |                     ^                            ^  |                               |
      |                     | restart                    |  | asked                         | HOLD_S
      | contract lacks      +----------------------------|--|---- if it never started ------+
      v                                                  +--|---- else ---------------------+
    REFUSED --contract has it--> LOADED                     v            the next error: FAILED
                                                  any --> STOPPED --asked--> LOADED

An error after the suspension, before any turn succeeds, is final: the instance is FAILED until it is started.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

ERRORS_IN_A_ROW = 3
HOLD_S = 60.0


class State(enum.Enum):
    """The state of an instance."""

    LOADED = 1
    STARTING = 2
    RUNNING = 3
    SUSPENDED = 4
    STOPPED = 5
    FAILED = 6
    REFUSED = 7

    @property
    def lives(self) -> bool:
        """Its globals are in a worker, or about to be."""
        return self in (State.STARTING, State.RUNNING, State.SUSPENDED)


class Verdict(enum.Enum):
    """The consequence of an error."""

    GO_ON = "go on"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(slots=True)
class ErrorBudget:
    """Errors in a row, and whether the hold was had already."""

    in_a_row: int = 0
    was_held: bool = False

    def success(self) -> None:
        """A turn succeeded: reset the budget."""
        self.in_a_row, self.was_held = 0, False

    def error(self) -> Verdict:
        """A turn failed."""
        self.in_a_row += 1
        if self.was_held:
            return Verdict.FAIL
        if self.in_a_row >= ERRORS_IN_A_ROW:
            self.was_held, self.in_a_row = True, 0
            return Verdict.HOLD
        return Verdict.GO_ON
