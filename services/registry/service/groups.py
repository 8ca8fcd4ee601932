"""Groups: named selectors. Labels alone determine the members, so device records do not mention groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.chassis.errors import RevisionConflictError
from services.domain import ids
from services.domain.errors import InvalidRequestError, in_field
from services.domain.selectors import parse_selector
from services.registry.errors import GroupNotFoundError, StaleRevisionError
from services.registry.model import Group
from services.registry.ports import GroupStore

MAX_DESCRIPTION = 200
_MAX_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Groups:
    """Use cases."""

    store: GroupStore

    async def put(self, name: str, selector: str, description: str, revision: int) -> Group:
        """Create or change a group; `revision` 0 means any. Raises StaleRevisionError."""
        with in_field("group"):
            group = _checked(name, selector, description)
        for _ in range(_MAX_ATTEMPTS):
            current = await self._current(name, revision)
            try:
                return await self.store.put(replace(group, revision=current))
            except RevisionConflictError:
                continue  # a caller that passed a revision gets the error above
        raise RevisionConflictError(f"group {name} has too many concurrent writes", hint="Try again.")

    async def all(self) -> Sequence[Group]:
        """Return every group, ordered by name."""
        return await self.store.all()

    async def delete(self, name: str, revision: int) -> None:
        """Delete a group; `revision` 0 means any. Raises GroupNotFoundError, StaleRevisionError."""
        for _ in range(_MAX_ATTEMPTS):
            group = await self.store.get(ids.group_name(name, "name"))
            if group is None:
                raise GroupNotFoundError(name)
            await self._current(name, revision)
            try:
                return await self.store.delete(group)
            except RevisionConflictError:
                continue
        raise RevisionConflictError(f"group {name} has too many concurrent writes", hint="Try again.")

    async def _current(self, name: str, revision: int) -> int:
        group = await self.store.get(name)
        current = group.revision if group else 0
        if revision and revision != current:
            raise StaleRevisionError(f"group {name}", revision, current)
        return current


def _checked(name: str, selector: str, description: str) -> Group:
    group = Group(ids.group_name(name, "name"), parse_selector(selector), description)
    if not selector.strip():
        raise InvalidRequestError("a group needs a selector", hint='Example: zone=hall; "*" is all.', field="selector")
    if len(description) > MAX_DESCRIPTION or not all(c.isprintable() for c in description):
        raise InvalidRequestError(
            f"a description is at most {MAX_DESCRIPTION} printable characters", field="description"
        )
    return group
