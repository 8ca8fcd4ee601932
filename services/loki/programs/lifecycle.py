"""The states of an instance and its error budget. Pure; the caller has the clock.

    LOADED --claimed--> STARTING --suspended or done--> RUNNING --three errors in a row--> SUSPENDED
      |                     ^                            ^  |                               |
      |                     | restart                    |  | stop                          | SUSPENSION_S
      | contract lacks      +----------------------------|--|---- if it never started ------+
      v                                                  +--|---- else ---------------------+
    REFUSED --contract has it--> LOADED                     v            the next error: FAILED
                                                  any --> STOPPED --start--> LOADED

An error after the suspension, before any turn succeeds, is final: the instance is FAILED until it is started.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

ERRORS_IN_A_ROW = 3
SUSPENSION_S = 60.0
"""Time that an instance is suspended after three errors in a row, in seconds."""


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
    def is_active(self) -> bool:
        """Return whether its globals are in a worker, or will be once it has started."""
        return self in (State.STARTING, State.RUNNING, State.SUSPENDED)


class Verdict(enum.Enum):
    """The consequence of an error."""

    CONTINUE = "continue"
    SUSPEND = "suspend"
    FAIL = "fail"


@dataclass(slots=True)
class ErrorBudget:
    """Errors in a row, and whether they have suspended the instance before."""

    in_a_row: int = 0
    was_suspended: bool = False

    def success(self) -> None:
        """A turn succeeded: reset the budget."""
        self.in_a_row, self.was_suspended = 0, False

    def error(self) -> Verdict:
        """Record a failed turn and return the consequence."""
        self.in_a_row += 1
        if self.was_suspended:
            return Verdict.FAIL
        if self.in_a_row >= ERRORS_IN_A_ROW:
            self.was_suspended, self.in_a_row = True, 0
            return Verdict.SUSPEND
        return Verdict.CONTINUE
