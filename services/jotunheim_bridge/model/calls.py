"""A call to a device in the names of the contract, common to all RPCs."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.domain import ids
from services.domain.errors import InvalidIdError
from services.domain.values import Value


class Operation(enum.Enum):
    """The kind of a call."""

    READ = "read"
    WRITE = "write"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class DeviceCall:
    """One call. A write carries its argument under the property's own name.

    `call_id` is the caller's, empty until assigned; `boot_id` is the boot that the call was first sent to, or empty.
    """

    device_id: str
    operation: Operation
    capability: str
    member: str
    arguments: Mapping[str, Value] = field(default_factory=dict)
    call_id: str = ""
    boot_id: str = ""

    def checked(self, new_call_id: str) -> DeviceCall:
        """Return the call with an id, its ids validated; raises InvalidIdError."""
        ids.device_id(self.device_id)
        if self.boot_id and not _is_boot_id(self.boot_id):
            raise InvalidIdError(
                f"{ids.printable(self.boot_id)!r} is not a boot id", hint="It is 16 hex digits.", field="boot_id"
            )
        return replace(self, call_id=ids.call_id(self.call_id) if self.call_id else new_call_id)


def _is_boot_id(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)
