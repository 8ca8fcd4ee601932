"""The contract that a device and the mesh have agreed on, and look-ups with errors that list the alternatives.

Owns the look-ups. `arguments` checks arguments, `negotiation` creates contracts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.domain.capability import Action, Capability, Event, Property
from services.domain.errors import ContractError


class RefusalReason(enum.Enum):
    """Reason why an offered capability is not in the contract."""

    POLICY = "policy"
    MALFORMED = "malformed"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An offered capability that is not in the contract; its texts are printable and bounded."""

    capability_id: str
    type: str
    version: int
    reason: RefusalReason
    message: str


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """The terms of the device link; sizes in bytes, the heartbeat in milliseconds."""

    protocol: int
    device_rx_frame_bytes: int
    device_tx_frame_bytes: int
    calls_in_flight: int
    heartbeat_ms: int


@dataclass(frozen=True, slots=True)
class Contract:
    """One revision of a contract; `revision` is 0 and `negotiate_time` None until the registry has stored it."""

    device_id: str
    document_digest: str
    capabilities: tuple[Capability, ...]
    refused: tuple[Refusal, ...]
    link: LinkTerms
    policy: str
    revision: int = 0
    digest: str = ""
    negotiate_time: datetime | None = None

    def capability(self, capability_id: str) -> Capability:
        """Return the capability of that id; raises ContractError that lists the existing ones or the reason of the
        refusal.
        """
        for capability in self.capabilities:
            if capability.id == capability_id:
                return capability
        for refusal in self.refused:
            if refusal.capability_id == capability_id:
                raise ContractError(
                    f"{capability_id} of {self.device_id} was refused: {refusal.message}", capability=capability_id
                )
        have = ", ".join(f"{c.id} ({c.type}@{c.version})" for c in self.capabilities) or "nothing"
        raise ContractError(
            f"{self.device_id} has no capability {capability_id!s:.64}",
            hint=f"Its contract has {have}.",
            capability=capability_id[:64],
        )

    def action(self, capability_id: str, name: str) -> Action:
        """Return the action; raises ContractError that lists the existing ones."""
        capability = self.capability(capability_id)
        return _named(capability.actions, name, f"{capability_id} of {self.device_id}", "action", "actions")

    def event(self, capability_id: str, name: str) -> Event:
        """Return the event; raises ContractError that lists the existing ones."""
        capability = self.capability(capability_id)
        return _named(capability.events, name, f"{capability_id} of {self.device_id}", "event", "events")

    def readable(self, capability_id: str, name: str) -> Property:
        """Return the property if it is readable; raises ContractError."""
        prop = self._property(capability_id, name)
        if not prop.readable:
            raise ContractError(f"{capability_id}.{name} of {self.device_id} cannot be read, only written")
        return prop

    def writable(self, capability_id: str, name: str) -> Property:
        """Return the property if it is writable; raises ContractError."""
        prop = self._property(capability_id, name)
        if not prop.writable:
            raise ContractError(f"{capability_id}.{name} of {self.device_id} cannot be written, only read")
        return prop

    def _property(self, capability_id: str, name: str) -> Property:
        capability = self.capability(capability_id)
        return _named(capability.properties, name, f"{capability_id} of {self.device_id}", "property", "properties")


@dataclass(frozen=True, slots=True)
class Changes:
    """Differences between two contracts, by capability id in the order of the documents."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def compare(old: Contract | None, new: Contract) -> Changes:
    """Return the capabilities that were added, removed and changed from `old` (None: no contract) to `new`."""
    before = {c.id: c for c in old.capabilities} if old else {}
    after = {c.id: c for c in new.capabilities}
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name, found in after.items() if name in before and before[name] != found),
    )


_Member = TypeVar("_Member", Property, Action, Event)


def _named(members: Iterable[_Member], name: str, where: str, one: str, many: str) -> _Member:
    found = tuple(members)
    for member in found:
        if member.name == name:
            return member
    have = ", ".join(member.name for member in found) or f"no {many}"
    raise ContractError(f"{where} has no {one} {name!s:.64}", hint=f"It has {have}.", member=name[:64])
