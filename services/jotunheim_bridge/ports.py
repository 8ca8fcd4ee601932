"""What the bridge needs from outside."""

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
"""With so much unread by its device a Wire ends the link."""


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> datetime:
        """UTC."""

    def monotonic(self) -> float:
        """Seconds, never going back."""


@dataclass(frozen=True, slots=True)
class Build:
    """What a device says of itself."""

    model: str
    device_class: str
    firmware_version: str
    slot: str


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device's state, such as `active`, and its labels. Certificates that began before `revoked_unix_s` are void."""

    state: str
    labels: Mapping[str, str]
    revoked_unix_s: float = 0


@dataclass(frozen=True, slots=True)
class Targets:
    """Those named, and those that the selector finds (empty: none; `*`: all) and that have all of `has`."""

    device_ids: tuple[str, ...] = ()
    selector: str = ""
    has: tuple[str, ...] = ()


class Registry(Protocol):
    """Devices and contracts. Raises errors with the registry's own code and reason."""

    async def device(self, device_id: str) -> DeviceFacts | None:
        """What matters here of a device; None where it is unknown."""

    def matching(self, targets: Targets) -> AsyncIterator[str]:
        """Devices that the targets' selector and requirements find, ordered by id."""

    async def document(self, digest: str) -> bytes | None:
        """A capability document, or None."""

    async def record(self, contract: Contract, document: bytes, build: Build) -> tuple[Contract, Changes | None]:
        """Stores what was agreed; returns it as stored and, where it is a new revision, how it differs."""

    async def online(self, after: str, limit: int) -> tuple[list[str], str]:
        """Devices that are online, ordered by id, and the token of the next page."""


@dataclass(frozen=True, slots=True)
class TwinReport:
    """What a device said of its properties in a session. `answers`: the desired revision it answers, 0 for none.

    `complete`: these are all that it has.
    """

    device_id: str
    contract_revision: int
    session_epoch: int
    properties: Mapping[Path, Report]
    answers: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """What is desired of a device as of `revision`; each value with the revision that brought it."""

    revision: int
    values: Mapping[Path, tuple[Value, int]]


class Twins(Protocol):
    """The registry's twins. Raises errors with the registry's own code and reason."""

    async def report(self, report: TwinReport) -> tuple[int, dict[Path, Value]]:
        """Tells it; returns the revision of what is desired and, for a complete report, what the device must be told.

        Raises an error of reason STALE_SESSION where a later session has reported.
        """


@dataclass(frozen=True, slots=True)
class Claim:
    """A session as this bridge wrote it, and the revision of its key: what a later write must stand on."""

    session: pb.Session
    revision: int


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What is known of a session when it is claimed. `features` are the names of those agreed on."""

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
    """Who is connected where. Raises StoreUnavailableError."""

    bridge_id: str

    async def claim(self, facts: SessionFacts) -> Claim:
        """Makes this bridge the owner under a new epoch, which fences whoever was."""

    async def release(self, claim: Claim) -> bool:
        """Ends the session; False where a newer one took over."""

    async def abandon(self, facts: SessionFacts) -> None:
        """Ends the session if it is there: for a claim that was not waited for, or whose outcome nobody knows."""

    async def get(self, device_id: str) -> pb.Session | None:
        """The live session, or None."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Events, each with its sequence in the stream, after sequence `after`."""

    after: int
    events: AsyncIterator[tuple[int, pb.DeviceEvent]]


class EventSink(Protocol):
    """The event stream."""

    async def publish(self, events: Sequence[pb.DeviceEvent]) -> None:
        """Returns once the stream has all, in order; what is repeated is stored once. Raises StoreUnavailableError."""

    async def publish_unacknowledged(self, events: Sequence[pb.DeviceEvent]) -> None:
        """Sends and forgets."""

    async def last_sequence(self, device_id: str, boot_id: str) -> int:
        """Sequence of the last event of that boot in the stream; 0 where there is none."""

    async def watch(self, device_ids: Collection[str], kinds: Collection[int], after: int | None) -> Watch:
        """Events after that sequence of the stream, None for now; empty collections mean all."""


class Router(Protocol):
    """Calls to the bridge that holds a session. Raises the errors of that bridge."""

    async def call(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> dict[str, Value]:
        """The results by name."""

    def stream(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> AsyncIterator[dict[str, Value]]:
        """Each answer's results of a streamed action."""

    async def disconnect(self, bridge_id: str, device_id: str) -> None:
        """Ends a session there."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate of a device and that of the CA that issued it, both in DER."""

    certificate: bytes
    issuer: bytes
    expires_unix_s: float


class Certificates(Protocol):
    """The registry's device CA. Raises errors with the registry's own code and reason."""

    async def renew(self, device_id: str, certificate: bytes, request: bytes) -> Issued:
        """A certificate in place of `certificate` (DER), for the same key, which `request` (PKCS#10) is signed by."""


class Wire(Protocol):
    """The sending half of one device link.

    The device's certificate is valid from `certified_unix_s` to `expires_unix_s`.
    """

    peer: str
    certified_unix_s: float
    expires_unix_s: float

    def certificate(self) -> bytes:
        """The device's certificate in DER; empty once the link is down."""

    def send(self, frame: link.Frame) -> None:
        """Sends a frame."""

    def send_encoded(self, data: bytes) -> None:
        """Sends whole frames that are encoded already, at once."""

    def unsent_bytes(self) -> int:
        """What waits here because the device does not read on."""

    def close(self, frame: link.Frame | None = None) -> None:
        """Sends a last frame and ends the link."""

    def set_limits(self, rx_frame_bytes: int, rx_record_bytes: int) -> None:
        """What the bridge accepts in a frame from now on, and the largest TLS record it may write, in bytes."""
