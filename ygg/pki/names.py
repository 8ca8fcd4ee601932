"""Certificate identities: kinds and the URI SAN `ygg://<tenant>/<kind>/<id>`. Pure.

Owns the kinds and the URI; `services.domain.ids` owns the grammar of the ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.domain import ids
from services.domain.errors import InvalidIdError
from services.domain.subjects import TENANT
from ygg.exits import UsageError


class Kind(StrEnum):
    """The kind of an identity; each kind has its own CA."""

    DEVICE = "device"
    SERVICE = "service"
    USER = "user"


_CHECKS = {Kind.DEVICE: ids.device_id, Kind.SERVICE: ids.member_id, Kind.USER: ids.device_id}


@dataclass(frozen=True, slots=True)
class Identity:
    """A validated certificate identity; create it with `identity()`."""

    kind: Kind
    id: str
    tenant: str = TENANT

    @property
    def uri(self) -> str:
        """The URI SAN, such as `ygg://main/device/porch-1`."""
        return f"ygg://{self.tenant}/{self.kind}/{self.id}"


def identity(kind: Kind, name: str) -> Identity:
    """Return the identity of `name`. Raises UsageError if the name violates the kind's grammar."""
    try:
        _CHECKS[kind](name)
    except InvalidIdError as e:
        grammar = e.hint.partition(" is ")[2]
        raise UsageError(f"invalid {kind} id {ids.printable(name)!r}", hint=f"A {kind} id is {grammar}") from e
    return Identity(kind, name)
