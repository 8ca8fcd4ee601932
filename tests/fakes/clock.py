"""A clock that moves only when a test moves it."""

import datetime as dt

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)


class Clock:
    """Call it for the time."""

    def __init__(self, now: dt.datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        """Move by `delta`, as timedelta takes it."""
        self.now += dt.timedelta(**delta)
