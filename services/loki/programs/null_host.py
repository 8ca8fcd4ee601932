"""The surroundings of a turn that may ask nothing: a check of a package."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.loki.model import Level


class NullHost:
    """Implements the port TurnHost."""

    waiting_for = ""

    async def ask(self, operation: str, arguments: Sequence[Value]) -> Value:
        """Refuses."""
        raise InvalidRequestError("a check asks nothing of the host")

    def log(self, level: Level, text: str) -> None:
        """Delete nothing."""

    def spend_output(self, size_bytes: int) -> None:
        """Count nothing."""
