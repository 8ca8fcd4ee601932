"""Groups: named selectors. Who is in one follows from the labels alone, so the devices know nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.chassis.errors import RevisionConflictError
from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.domain.selectors import parse_selector
from services.registry.errors import GroupNotFoundError, StaleRevisionError
from services.registry.model import Group
from services.registry.ports import GroupStore

MAX_DESCRIPTION = 200
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Groups:
    """Use cases."""

    store: GroupStore

    async def put(self, name: str, selector: str, description: str, revision: int) -> Group:
        """Makes a group or changes it; `revision` 0 means whatever it is now. Raises StaleRevisionError."""
        wanted = Group(ids.group_name(name), parse_selector(selector), description)
        if not selector.strip():
            raise InvalidRequestError("a group needs a selector", hint='Write zone=hall, for example; "*" is all.')
        if len(description) > MAX_DESCRIPTION or not all(c.isprintable() for c in description):
            raise InvalidRequestError(f"a description is at most {MAX_DESCRIPTION} printable characters")
        for _ in range(_TRIES):
            current = await self._current(name, revision)
            try:
                return await self.store.put(replace(wanted, revision=current))
            except RevisionConflictError:
                continue  # a caller who named a revision is told above
        raise RevisionConflictError(f"group {name} is being written too often", hint="Try again.")

    async def all(self) -> Sequence[Group]:
        """Every group, ordered by name."""
        return await self.store.all()

    async def delete(self, name: str, revision: int) -> None:
        """Forgets a group; `revision` 0 means whatever it is now. Raises GroupNotFoundError, StaleRevisionError."""
        for _ in range(_TRIES):
            group = await self.store.get(ids.group_name(name))
            if group is None:
                raise GroupNotFoundError(name)
            await self._current(name, revision)
            try:
                return await self.store.delete(group)
            except RevisionConflictError:
                continue
        raise RevisionConflictError(f"group {name} is being written too often", hint="Try again.")

    async def _current(self, name: str, revision: int) -> int:
        group = await self.store.get(name)
        current = group.revision if group else 0
        if revision and revision != current:
            raise StaleRevisionError(f"group {name}", revision, current)
        return current
