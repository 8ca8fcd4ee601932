"""Claims that are begun and not waited for, and devices that the registry has spoken against meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from services.chassis.errors import StoreUnavailableError
from services.domain.access import denied_reason
from services.jotunheim_bridge.adapters.registry import facts_of
from services.jotunheim_bridge.model.framing import encode
from services.jotunheim_bridge.ports import Claim, DeviceFacts, SessionFacts
from services.jotunheim_bridge.service.access import MAX_CACHED_DEVICES, AccessCache
from services.jotunheim_bridge.service.negotiator import NEGOTIATION_TIMEOUT_S
from tests.fuzz.world import DEVICE, Sessions, World, offered_document, pages, valid_hello
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.registry.v1 import registry_pb2 as rp


class SlowSessions(Sessions):
    """Writes a claim and hangs for so long; `abandoned` lists undone claims, `lost` drops the response."""

    def __init__(self) -> None:
        super().__init__()
        self.hang_s, self.lost = 0.0, False
        self.online: set[str] = set()
        self.away = 0

    async def claim(self, facts: SessionFacts) -> Claim:
        claimed = await super().claim(facts)
        self.online.add(facts.session_id)
        await asyncio.sleep(self.hang_s)
        if self.lost:
            raise StoreUnavailableError("no answer")
        return claimed

    async def abandon(self, facts: SessionFacts) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("no answer")
        self.online.discard(facts.session_id)


@pytest.fixture
def world() -> Iterator[World]:
    made = World(SlowSessions())
    yield made
    made.close()


def _says_hello(world: World) -> list[link.Frame]:
    connection, transport = world.connect()
    world.feed(connection, transport, encode(link.Frame(hello=valid_hello())))
    welcome = transport.frames[0].welcome
    if welcome.send_capabilities:
        data = b"".join(encode(frame) for frame in pages(offered_document(), welcome.page_bytes))
        world.feed(connection, transport, data)
    return transport.frames


def _sessions(world: World) -> SlowSessions:
    assert isinstance(world.sessions, SlowSessions)
    return world.sessions


def test_a_claim_that_outlasts_the_negotiation_is_released(world: World) -> None:
    sessions = _sessions(world)
    sessions.hang_s, sessions.away = NEGOTIATION_TIMEOUT_S + 5, 2
    frames = _says_hello(world)
    world.settle(NEGOTIATION_TIMEOUT_S + 1)
    assert frames[-1].goodbye.code == link.GOODBYE_CODE_TIMEOUT
    assert world.bridge.session(DEVICE) is None
    assert sessions.online
    world.settle(10)
    assert not sessions.online


def test_claim_is_released_when_its_response_is_lost(world: World) -> None:
    sessions = _sessions(world)
    sessions.lost = True
    frames = _says_hello(world)
    assert frames[-1].refused.code == link.REFUSED_CODE_UNAVAILABLE
    assert not sessions.online


def test_a_claim_in_time_stays(world: World) -> None:
    frames = _says_hello(world)
    assert frames[-1].contract.accepted == 2
    world.settle(10)
    assert _sessions(world).online


def test_device_suspended_during_negotiation_is_rejected(world: World) -> None:
    sessions = _sessions(world)
    sessions.hang_s = 1.0
    frames = _says_hello(world)
    assert world.bridge.tracks(DEVICE)
    world.run(_change(world, DeviceFacts("suspended", {})))
    world.settle(2)
    assert frames[-1].goodbye.code == link.GOODBYE_CODE_DISCONNECTED
    assert world.bridge.session(DEVICE) is None


async def _change(world: World, facts: DeviceFacts) -> None:
    world.bridge.on_device_changed(DEVICE, facts)


def test_a_device_that_is_active_again_comes_in(world: World) -> None:
    _says_hello(world)
    world.run(_change(world, DeviceFacts("suspended", {})))
    assert world.bridge.session(DEVICE) is None
    world.run(_change(world, DeviceFacts("active", {})))
    assert _says_hello(world)[-1].contract.accepted == 2
    assert world.bridge.session(DEVICE) is not None


def test_access_cache_ignores_untracked_devices_and_is_bounded() -> None:
    cache = AccessCache()
    assert not cache.tracks("porch-1")
    with cache.negotiating("porch-1"):
        assert cache.tracks("porch-1")
    assert not cache.tracks("porch-1")
    for n in range(MAX_CACHED_DEVICES + 1):
        cache.put(f"d-{n}", DeviceFacts("suspended", {}))
    assert not cache.tracks("d-0")
    assert cache.denied_reason(f"d-{MAX_CACHED_DEVICES}", 0)


@pytest.mark.parametrize(
    ("state", "revoked", "certified", "why"),
    [
        ("active", 0, 0, ""),
        ("active", 100, 100, ""),
        ("active", 100, 99, "the certificate of d has been revoked"),
        ("pending", 0, 100, "d is pending, not active"),
    ],
)
def test_access_is_denied_by_state_or_revocation(state: str, revoked: float, certified: float, why: str) -> None:
    assert denied_reason("d", state, revoked, certified) == why


def test_unknown_device_state_excludes_only_that_device() -> None:
    facts = facts_of(rp.StoredDevice(state=99))  # type: ignore[arg-type]
    assert denied_reason("d", facts.state, facts.revoked_unix_s, 0) == "d is unknown, not active"
