"""Ports of the bridge: clock, registry, twins, sessions, events, router, certificates, device link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.domain.contract import Changes, Contract, LinkTerms
from services.domain.twin import Path, Report
from services.domain.values import Value
from services.jotunheim_bridge.model.calls import DeviceCall
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

UNREAD_LIMIT_BYTES = 256 * 1024
"""A Wire ends its link when the device leaves more than this unread."""


class Clock(Protocol):
    """Injected time."""

    def now(self) -> datetime:
        """Return the time in UTC."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Build:
    """Hardware and firmware of a device, from its Hello."""

    model: str
    device_class: str
    firmware_version: str
    slot: str


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device's state, such as `active`, and its labels. Certificates from before `revoked_unix_s` are revoked."""

    state: str
    labels: Mapping[str, str]
    revoked_unix_s: float = 0


@dataclass(frozen=True, slots=True)
class Targets:
    """The named devices, plus those that match the selector (empty: none; `*`: all) and every requirement in `has`."""

    device_ids: tuple[str, ...] = ()
    selector: str = ""
    has: tuple[str, ...] = ()


class Registry(Protocol):
    """Devices and contracts. Raises errors with the registry's own code and reason."""

    async def device(self, device_id: str) -> DeviceFacts | None:
        """Return the facts of a device, or None if it is unknown."""

    def matching(self, targets: Targets) -> AsyncIterator[str]:
        """Yield ids of devices that match the targets' selector and requirements, ordered by id."""

    async def document(self, digest: str) -> bytes | None:
        """Return a capability document, or None."""

    async def record(self, contract: Contract, document: bytes, build: Build) -> tuple[Contract, Changes | None]:
        """Store an agreed contract; return it as stored and, for a new revision, its changes."""

    async def online(self, after: str, limit: int) -> tuple[list[str], str]:
        """Return ids of online devices, ordered by id, and the token of the next page."""


@dataclass(frozen=True, slots=True)
class TwinReport:
    """Properties reported by a device in a session.

    `answers` is the desired revision that the report answers, 0 for none; `complete`: these are all properties.
    """

    device_id: str
    contract_revision: int
    session_epoch: int
    properties: Mapping[Path, Report]
    answers: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired state of a device as of `revision`; each value with the revision that set it."""

    revision: int
    values: Mapping[Path, tuple[Value, int]]


class Twins(Protocol):
    """The registry's twins. Raises errors with the registry's own code and reason."""

    async def report(self, report: TwinReport) -> tuple[int, dict[Path, Value]]:
        """Report properties; return the desired revision and, for a complete report, the delta for the device.

        Raises an error of reason STALE_SESSION if a later session has reported.
        """


@dataclass(frozen=True, slots=True)
class Claim:
    """A session as written by this bridge, and the revision of its key for the next compare-and-set."""

    session: pb.Session
    revision: int


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """Properties of a session at its claim. `features` are the names of the agreed features."""

    device_id: str
    session_id: str
    boot_id: str
    peer: str
    link: LinkTerms
    build: Build
    features: frozenset[str]
    negotiation_ms: float
    certificate_expires_unix_s: float = 0.0


class SessionStore(Protocol):
    """Which bridge owns which session. Raises StoreUnavailableError."""

    bridge_id: str

    async def claim(self, facts: SessionFacts) -> Claim:
        """Make this bridge the owner under a new epoch, which fences the previous owner."""

    async def release(self, claim: Claim) -> bool:
        """End the session; return False if a newer one has replaced it."""

    async def abandon(self, facts: SessionFacts) -> None:
        """End the session if it exists: for a claim that was cancelled or has an unknown outcome."""

    async def get(self, device_id: str) -> pb.Session | None:
        """Return the live session, or None."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Events after sequence `after`, each with its sequence in the stream."""

    after: int
    events: AsyncIterator[tuple[int, pb.DeviceEvent]]


class EventSink(Protocol):
    """The event stream."""

    async def publish(self, events: Sequence[pb.DeviceEvent]) -> None:
        """Publish events in order and return once all are stored, repeats once. Raises StoreUnavailableError."""

    async def publish_unacknowledged(self, events: Sequence[pb.DeviceEvent]) -> None:
        """Publish without acknowledgement."""

    async def last_sequence(self, device_id: str, boot_id: str) -> int:
        """Return the sequence of the last stored event of that boot, or 0 if the stream has none."""

    async def watch(self, device_ids: Collection[str], kinds: Collection[int], after: int | None) -> Watch:
        """Return events after that sequence of the stream (None: now); empty collections select all."""


class Router(Protocol):
    """Calls to the bridge that owns a session. Raises the errors of that bridge."""

    async def call(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> dict[str, Value]:
        """Return the results by name."""

    def stream(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> AsyncIterator[dict[str, Value]]:
        """Yield the results of each response of a streamed action."""

    async def disconnect(self, bridge_id: str, device_id: str) -> None:
        """End a session there."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A device's new certificate and its issuer, both in DER."""

    certificate: bytes
    issuer: bytes
    expires_unix_s: float


class Certificates(Protocol):
    """The registry's device CA. Raises errors with the registry's own code and reason."""

    async def renew(self, device_id: str, certificate: bytes, request: bytes) -> Issued:
        """Return a certificate that replaces `certificate` (DER) for the same key, which signed `request` (PKCS#10)."""


class Wire(Protocol):
    """The sending half of one device link.

    The device's certificate is valid from `certified_unix_s` to `expires_unix_s`.
    """

    peer: str
    certified_unix_s: float
    expires_unix_s: float

    def certificate(self) -> bytes:
        """Return the device's certificate in DER, or b"" if the link is down."""

    def send(self, frame: link.Frame) -> None:
        """Send a frame."""

    def send_encoded(self, data: bytes) -> None:
        """Send encoded frames in one write."""

    def unsent_bytes(self) -> int:
        """Return the number of bytes buffered because the device does not read."""

    def close(self, frame: link.Frame | None = None) -> None:
        """Send a last frame and close the link."""

    def set_limits(self, rx_frame_bytes: int, rx_record_bytes: int) -> None:
        """Set the largest frame to accept and the largest TLS record to write, both in bytes."""
