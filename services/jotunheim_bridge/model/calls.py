"""A call of a device in the names of the contract: what every way of calling comes down to."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.domain import ids
from services.domain.errors import InvalidIdError
from services.domain.values import Value


class Operation(enum.Enum):
    """What a call does."""

    READ = "read"
    WRITE = "write"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class DeviceCall:
    """One call. A write carries its one argument under the property's own name.

    `call_id` is the caller's, empty until one is made; `boot_id` is the boot it was first sent under, empty for any.
    """

    device_id: str
    operation: Operation
    capability: str
    member: str
    arguments: Mapping[str, Value] = field(default_factory=dict)
    call_id: str = ""
    boot_id: str = ""

    def checked(self, new_call_id: str) -> DeviceCall:
        """With a call id, and its ids checked; raises InvalidIdError."""
        ids.device_id(self.device_id)
        if self.boot_id and not _is_boot_id(self.boot_id):
            raise InvalidIdError(f"{ids.printable(self.boot_id)!r} is not a boot id", hint="It is 16 hex digits.")
        return replace(self, call_id=ids.call_id(self.call_id) if self.call_id else new_call_id)


def _is_boot_id(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)
