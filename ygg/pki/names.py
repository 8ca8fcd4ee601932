"""Who a certificate speaks for: kinds, id grammars and the URI SAN `ygg://<tenant>/<kind>/<id>`.

Owns the kinds and the URI; the grammar of the ids is `services.domain.ids`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.domain import ids
from services.domain.errors import InvalidIdError
from services.domain.subjects import TENANT
from ygg.exits import UsageError


class Kind(StrEnum):
    """What an identity belongs to; each kind has a CA of its own."""

    DEVICE = "device"
    SERVICE = "service"
    USER = "user"


_CHECKS = {Kind.DEVICE: ids.device_id, Kind.SERVICE: ids.member_id, Kind.USER: ids.device_id}


@dataclass(frozen=True, slots=True)
class Identity:
    """A name that a certificate can carry. Made by `identity()`, which checks it."""

    kind: Kind
    id: str
    tenant: str = TENANT

    @property
    def uri(self) -> str:
        """The URI SAN, such as `ygg://main/device/porch-1`."""
        return f"ygg://{self.tenant}/{self.kind}/{self.id}"


def identity(kind: Kind, name: str) -> Identity:
    """The identity of `name`. Raises UsageError where the name breaks the kind's grammar."""
    try:
        _CHECKS[kind](name)
    except InvalidIdError as e:
        grammar = e.hint.partition(" is ")[2]
        raise UsageError(f"{ids.printable(name)!r} is no {kind} id", hint=f"A {kind} id is {grammar}") from e
    return Identity(kind, name)
