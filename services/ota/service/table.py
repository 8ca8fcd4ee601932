"""Compare-and-set updates of a table row, with retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from services.chassis.errors import RevisionConflictError
from services.ota.ports import Row, Table

T = TypeVar("T")
_ATTEMPTS = 20


async def edit(table: Table[T], key: str, new: Callable[[], T], change: Callable[[T], T]) -> tuple[T, T]:
    """Write `change` of the row's value, or of `new()`; skip the write if unchanged. Return values before and after.

    Raises errors of `change`, and RevisionConflictError after _ATTEMPTS rounds.
    """
    row = table.get(key)
    for attempt in range(_ATTEMPTS):
        before = row.value if row else new()
        after = change(before)
        if row and after == before:
            return before, after
        try:
            await (table.update(row, after) if row else table.create(key, after))
        except RevisionConflictError:
            if attempt == _ATTEMPTS - 1:
                raise
            row = await table.fresh(key)
            continue
        return before, after
    raise AssertionError("not reached")


async def write(table: Table[T], row: Row[T] | None, key: str, value: T) -> bool:
    """Write a row that is unchanged since it was read; return False after a concurrent write."""
    try:
        await (table.update(row, value) if row else table.create(key, value))
    except RevisionConflictError:
        await table.fresh(key)
        return False
    return True
