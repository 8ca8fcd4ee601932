"""Search: the one statement that finds the ids of the devices that meet a query, in order.

It makes SQLite scan one condition: that with the fewest entries, as far as a bounded count of each shows. Each is an
index in the order of ids, so the cost is the page's length with one condition, and the number of entries of the rarest
one with several.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from services.domain.selectors import Operator, Term
from services.registry.ports import Query

_COUNT_LIMIT = 4096
"""Maximum entries of a condition that are counted to choose the scan."""
_MAX_VALUES = 256
"""Maximum values of a label that a term is expanded to."""
_MAX_LABEL_LOOKUPS = 4
"""Maximum values that are looked up one by one; for more, a device's labels are scanned."""
_MAX_SHORT_BODIES = 64
"""Maximum bodies of a search that runs in the event loop."""
_ALL = "devices p INDEXED BY devices_by_id WHERE p.state IS NOT NULL"
_KNOWN = "EXISTS (SELECT 1 FROM devices d WHERE d.id = p.id AND d.state IS NOT NULL)"
_ONLINE = "EXISTS (SELECT 1 FROM sessions s WHERE s.id = p.id AND s.bridge IS NOT NULL)"
_HAS_KEY = (
    "EXISTS (SELECT 1 FROM devices d CROSS JOIN json_each(d.labels) l CROSS JOIN label_names n"
    " WHERE d.id = p.id AND n.no = l.value AND n.key = ?)"
)


@dataclass(frozen=True, slots=True)
class _Condition:
    """A condition as a check of one device, and as an index to scan ("" without one)."""

    check: str
    scan: str = ""
    values: tuple[str | float, ...] = ()


@dataclass(slots=True)
class Plan:
    """The conditions of a query; `impossible` if one cannot be met."""

    conditions: list[_Condition] = field(default_factory=list)
    impossible: bool = False


def is_short(query: Query, bodies: Collection[int] | None) -> bool:
    """Return whether the search takes at most a millisecond for any data: a few ranges of one index and no other
    condition.
    """
    others = query.selector.terms or query.states or query.online is not None or query.expires_before_unix_s is not None
    return bodies is not None and len(bodies) <= _MAX_SHORT_BODIES and not others


def find(
    db: sqlite3.Connection, query: Query, bodies: Collection[int] | None, states: Sequence[int], *, must_exist: bool
) -> list[str]:
    """Return at most `query.limit` ids after `query.after`; `bodies` are those that meet the requirements, None for
    any.

    Without `must_exist` the result may include devices with a missing or deleted record.
    """
    plan = _plan(db, query, bodies, states)
    if plan.impossible:
        return []
    first = _first(db, plan.conditions)
    checks = [condition.check for condition in plan.conditions if condition is not first]
    values = [value for condition in plan.conditions if condition is not first for value in condition.values]
    if must_exist and first is not None:
        checks.append(_KNOWN)
    where = "".join(f" AND {check}" for check in checks)
    scan = first.scan if first else _ALL
    ids = f"SELECT p.id FROM {scan} AND p.id > ?{where} ORDER BY p.id LIMIT ?"  # noqa: S608 - text of this module
    # One row: each row of a statement takes the interpreter's lock, which the event loop needs.
    row = db.execute(f"SELECT json_group_array(id) FROM ({ids})", (query.after, *values, query.limit)).fetchone()  # noqa: S608
    return sorted(json.loads(row[0]))


def _plan(db: sqlite3.Connection, query: Query, bodies: Collection[int] | None, states: Sequence[int]) -> Plan:
    plan = Plan()
    if bodies is not None:
        numbers = _list(bodies)
        plan.impossible = numbers == "()"
        check = f"(SELECT c.body FROM contracts c WHERE c.id = p.id) IN {numbers}"  # noqa: S608 - numbers
        plan.conditions.append(_Condition(check, f"contracts p INDEXED BY contracts_by_body WHERE p.body IN {numbers}"))
    for term in query.selector.terms:
        _add_term(db, plan, term)
    if query.online is not None:
        scan = "sessions p INDEXED BY sessions_online WHERE p.bridge IS NOT NULL" if query.online else ""
        plan.conditions.append(_Condition(_ONLINE if query.online else f"NOT {_ONLINE}", scan))
    if query.expires_before_unix_s is not None:
        check = "(SELECT s.certificate FROM sessions s WHERE s.id = p.id) < ?"
        plan.conditions.append(_Condition(check, values=(query.expires_before_unix_s,)))
    if states:
        check = f"(SELECT d.state FROM devices d WHERE d.id = p.id) IN {_list(states)}"  # noqa: S608 - numbers
        plan.conditions.append(_Condition(check))
    return plan


def _add_term(db: sqlite3.Connection, plan: Plan, term: Term) -> None:
    must_match = term.operator in (Operator.IN, Operator.EXISTS)
    of = f" AND value IN ({', '.join('?' * len(term.values))})" if term.values else ""
    sql = f"SELECT no FROM label_names WHERE key = ?{of} LIMIT {_MAX_VALUES + 1}"  # noqa: S608 - marks and a number
    found = [row[0] for row in db.execute(sql, (term.key, *term.values))]
    if not found:
        plan.impossible |= must_match
        return
    if len(found) > _MAX_VALUES:  # only EXISTS and ABSENT have so many
        plan.conditions.append(_Condition(_HAS_KEY if must_match else f"NOT {_HAS_KEY}", values=(term.key,)))
        return
    numbers = _list(found)
    check = f"EXISTS (SELECT 1 FROM labels l WHERE l.label IN {numbers} AND l.id = p.id)"  # noqa: S608 - numbers
    if len(found) > _MAX_LABEL_LOOKUPS:
        of_device = "devices d CROSS JOIN json_each(d.labels) l"
        check = f"EXISTS (SELECT 1 FROM {of_device} WHERE d.id = p.id AND l.value IN {numbers})"  # noqa: S608 - numbers
    if must_match:
        plan.conditions.append(_Condition(check, f"labels p WHERE p.label IN {numbers}"))
    else:
        plan.conditions.append(_Condition(f"NOT {check}"))


def _first(db: sqlite3.Connection, conditions: Sequence[_Condition]) -> _Condition | None:
    """Return the condition to scan, the one with the fewest entries; None for all devices."""
    scannable = [condition for condition in conditions if condition.scan]
    if len(scannable) < 2:
        return scannable[0] if scannable else None
    counts = [_count(db, condition) for condition in scannable]
    return scannable[counts.index(min(counts))]


def _count(db: sqlite3.Connection, condition: _Condition) -> int:
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {condition.scan} LIMIT {_COUNT_LIMIT})"  # noqa: S608 - text of this module
    return int(db.execute(sql).fetchone()[0])


def _list(numbers: Iterable[int]) -> str:
    return f"({','.join(str(int(number)) for number in sorted(numbers))})"
