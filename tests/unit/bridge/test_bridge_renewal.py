"""When a certificate is renewed, how it is sent, and the cost of a failing device or registry."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from services.chassis.errors import StoreUnavailableError
from services.domain.contract import LinkTerms
from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model import certificate as rules
from services.jotunheim_bridge.model.framing import encode
from services.jotunheim_bridge.ports import Issued
from services.jotunheim_bridge.service import renewal
from services.jotunheim_bridge.service.certificate import DeviceRenewal
from services.jotunheim_bridge.service.renewal import CHECK_INTERVAL_S, REQUEST_TIMEOUT_S, RETRY_INTERVAL_S, Renewals
from yggdrasil.device.v1 import link_pb2 as link

DAY_S = 86_400.0
START_S = 1_800_000_000.0
END_S = START_S + 300 * DAY_S


@dataclass
class Clock:
    """Both clocks go on together."""

    now_s: float = START_S

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic(self) -> float:
        return self.now_s


@dataclass
class Wire:
    """Records the frames sent."""

    certified_unix_s: float = START_S
    expires_unix_s: float = END_S
    sent: list[link.Frame] = field(default_factory=list)

    def certificate(self) -> bytes:
        return b"in use"

    def send(self, frame: link.Frame) -> None:
        self.sent.append(frame)

    def take(self) -> list[link.Frame]:
        taken, self.sent = self.sent, []
        return taken


@dataclass(eq=False)
class Session:
    """What Renewals looks at of a session."""

    wire: Wire
    device_id: str = "porch-1"
    ended: bool = False
    renewal: DeviceRenewal | None = None

    def __post_init__(self) -> None:
        self.renewal = DeviceRenewal(self.wire)  # type: ignore[arg-type]

    @property
    def facts(self) -> Any:
        return self

    @property
    def link(self) -> LinkTerms:
        return LinkTerms(1, 256, 1024, 1, 1000)


@dataclass
class Certificates:
    """A device CA, or a registry that is away."""

    clock: Clock
    away: bool = False
    size: int = 600
    asked: list[tuple[str, bytes, bytes]] = field(default_factory=list)

    async def renew(self, device_id: str, certificate: bytes, request: bytes) -> Issued:
        self.asked.append((device_id, certificate, request))
        if self.away:
            raise StoreUnavailableError("the registry does not answer")
        return Issued(b"c" * self.size, b"i" * self.size, self.clock.now_s + 300 * DAY_S)


@dataclass
class World:
    """One session, its clock and its device CA."""

    clock: Clock
    certificates: Certificates
    session: Session
    renewals: Renewals

    def at(self, now_s: float) -> list[link.Frame]:
        """Advance the time; return the frames sent."""
        self.clock.now_s = now_s
        self.renewals.check(self.session)  # type: ignore[arg-type]
        return self.session.wire.take()

    async def request(self, data: bytes = b"request") -> list[link.Frame]:
        """Pass the device's response; return the frames sent."""
        assert self.session.renewal is not None
        self.session.renewal.on_request(link.CertificateRequest(certificate_request=data))
        self.renewals.flush(self.session)  # type: ignore[arg-type]
        await asyncio.gather(*self.renewals._tasks)
        return self.session.wire.take()


@pytest.fixture
def world() -> World:
    clock = Clock()
    certificates = Certificates(clock)
    return World(clock, certificates, Session(Wire()), Renewals(certificates, clock))


DUE_S = START_S + 200 * DAY_S
WANTED = [link.Frame(certificate_expiring=link.CertificateExpiring())]


def joined(frames: list[link.Frame]) -> bytes:
    data = b""
    for frame in frames:
        assert frame.certificate_issued.offset_bytes == len(data)
        data += frame.certificate_issued.data
    assert {frame.certificate_issued.size_bytes for frame in frames} == {len(data)}
    return data


@pytest.mark.parametrize("frame_bytes", [256, 300, 1024, 16384])
@pytest.mark.parametrize("size", [1, 511, 512, 513, 1100, rules.MAX_ISSUED_BYTES])
def test_slices_fit_a_frame_of_the_device_and_join_again(size: int, frame_bytes: int) -> None:
    data = bytes(n % 251 for n in range(size))
    frames = rules.slices(data, frame_bytes)
    assert joined(frames) == data
    assert all(len(encode(frame)) - 2 <= frame_bytes for frame in frames)
    assert all(len(frame.certificate_issued.data) <= rules.MAX_SLICE_BYTES for frame in frames)


def test_renewal_starts_in_last_third_of_certificate_life(world: World) -> None:
    assert world.at(START_S) == []
    assert world.at(DUE_S - 1) == []
    assert world.at(DUE_S + CHECK_INTERVAL_S) == WANTED
    assert world.at(DUE_S + CHECK_INTERVAL_S + 1) == []


async def test_renewed_certificate_is_sent_and_tracked(world: World) -> None:
    assert world.at(DUE_S) == WANTED
    assert joined(await world.request()) == b"c" * 600 + b"i" * 600
    assert world.certificates.asked == [("porch-1", b"in use", b"request")]
    assert world.at(DUE_S + RETRY_INTERVAL_S) == []
    assert world.at(DUE_S + 201 * DAY_S) == WANTED
    await world.request()
    assert world.certificates.asked[-1][1] == b"c" * 600


async def test_unavailable_registry_is_retried_later(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.certificates.away = True
    assert world.at(DUE_S) == WANTED
    with caplog.at_level(logging.WARNING):
        (answer,) = await world.request()
    assert answer.certificate_issued == link.CertificateIssued(message="the registry does not answer")
    assert [record.message for record in caplog.records] == ["certificate renewal failed"]
    assert world.at(DUE_S + RETRY_INTERVAL_S - 1) == []
    assert world.at(DUE_S + RETRY_INTERVAL_S) == WANTED


def test_renewal_timeout_is_logged_and_not_retried(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert world.at(DUE_S) == WANTED
    with caplog.at_level(logging.WARNING):
        assert world.at(DUE_S + REQUEST_TIMEOUT_S) == []
        assert world.at(DUE_S + REQUEST_TIMEOUT_S + 1) == []
    assert [record.message for record in caplog.records] == ["certificate request timed out"]


def test_renewal_warnings_of_a_fleet_are_rate_limited(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(DUE_S)
    renewals = Renewals(Certificates(clock), clock)
    sessions: list[Any] = [Session(Wire(), device_id=f"d-{number}") for number in range(100)]
    with caplog.at_level(logging.WARNING):
        for now_s in (DUE_S, DUE_S + REQUEST_TIMEOUT_S):
            clock.now_s = now_s
            for session in sessions:
                renewals.check(session)
    assert len(caplog.records) <= renewal._throttle.BURST


async def test_certificates_too_long_for_device_are_not_sent(world: World) -> None:
    world.certificates.size = 1025
    assert world.at(DUE_S) == WANTED
    (answer,) = await world.request()
    assert "2050 bytes" in answer.certificate_issued.message


@pytest.mark.parametrize("size", [0, rules.MAX_REQUEST_BYTES + 1])
async def test_request_out_of_bounds_breaks_the_link(world: World, size: int) -> None:
    assert world.at(DUE_S) == WANTED
    with pytest.raises(LinkError, match="1 to 1024"):
        await world.request(b"x" * size)


async def test_unsolicited_request_breaks_the_link(world: World) -> None:
    with pytest.raises(LinkError, match="unsolicited"):
        await world.request()
    assert world.at(DUE_S) == WANTED
    await world.request()
    with pytest.raises(LinkError, match="unsolicited"):
        await world.request()


async def test_session_that_has_ended_gets_nothing(world: World) -> None:
    assert world.at(DUE_S) == WANTED
    world.session.ended = True
    assert await world.request() == []
    assert world.at(DUE_S + RETRY_INTERVAL_S) == []
