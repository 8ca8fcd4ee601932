"""Watches of devices: all existing ones, then each change; a watch can resume on any replica."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.registry.errors import IndexBehindError, ResumeTokenError
from services.registry.ports import DeviceChange, Index, Position

MAX_NAMED = 1000
"""Maximum devices that a watch can name."""
_TOKEN = re.compile(r"(?P<epoch>[0-9a-f]{8})((?:-[0-9]{1,18}){3})\Z", re.ASCII)


def to_token(position: Position) -> str:
    """Return the resume token of a position."""
    return "-".join([position.epoch, *map(str, position.sequences)])


def from_token(token: str, epoch: str) -> Position:
    """Return the position of a token; raises ResumeTokenError if it is invalid or of other streams."""
    found = _TOKEN.match(token)
    if not found or found["epoch"] != epoch:
        raise ResumeTokenError
    return Position(epoch, tuple(int(number) for number in found[2].split("-")[1:]))


@dataclass(frozen=True, slots=True)
class Watching:
    """Use cases, all served from the index."""

    index: Index

    async def watch(
        self, device_ids: Collection[str], changes_only: bool, token: str
    ) -> AsyncIterator[tuple[DeviceChange | None, Position]]:
        """Yield changes with the position after each, and once None, after all that were known at the start.

        Raises ResumeTokenError, IndexBehindError, InvalidRequestError.
        """
        if len(device_ids) > MAX_NAMED:
            raise InvalidRequestError(f"{len(device_ids)} devices, at most {MAX_NAMED} are allowed", field="device_ids")
        if token and changes_only:
            raise InvalidRequestError(
                "changes_only and resume_token exclude each other", hint="A resumed watch sends only changes."
            )
        among = {ids.device_id(device_id, "device_ids") for device_id in device_ids}
        position = await self._begin(changes_only, token)
        known, caught_up = self.index.position(), False
        while True:
            changes, after = self.index.changes(position, among)
            for change in changes:
                # A watch that starts from nothing has not sent devices that were deleted before.
                if not change.deleted or token or changes_only or change.device.revision > known.sequences[0]:
                    yield change, change.position
            position = after
            if not caught_up and position.reaches(known):
                caught_up = True
                yield None, position
            if position.reaches(self.index.position()):
                await self.index.moved(position)

    async def _begin(self, changes_only: bool, token: str) -> Position:
        now = self.index.position()
        if changes_only:
            return now
        if not token:
            return Position(now.epoch, (0,) * len(now.sequences))
        position = from_token(token, now.epoch)
        if not await self.index.reached_position(position):
            raise IndexBehindError("the resume token")
        return position
