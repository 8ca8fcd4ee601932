"""Rotation of roots and of the timestamp key; devices that are several roots behind follow."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from services.chassis import status, trust_codec
from services.domain.trust import Role, Root
from tests.fakes.ota_keys import image_of, new_key, public, signed
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.updates import OtaMesh, Updates, connected, running, start_ota
from tests.fixtures.wait import eventually
from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc
from yggdrasil.ota.v1 import rollout_pb2 as pb


@pytest.fixture
def own_mesh(fresh_nats: NatsServer, pki: Pki, tmp_path: Path) -> Iterator[OtaMesh]:
    """Processes for this test alone, because roots are permanent."""
    with running(fresh_nats, pki, tmp_path) as found:
        yield found


def envelope(updates: Updates, root: Root) -> bytes:
    return trust_codec.envelope_bytes(signed(Role.ROOT, trust_codec.root_bytes(root), updates.keys.roots))


async def set_root(updates: Updates, data: bytes) -> int:
    return int((await updates.releases.SetRoot(release_pb2.SetRootRequest(envelope=data), timeout=10)).version)


async def refused(updates: Updates, data: bytes) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await set_root(updates, data)
    info = status.error_info(e.value)
    return info.reason if info else ""


def rotated(root: Root, **changes: object) -> Root:
    return replace(root, version=root.version + 1, **changes)  # type: ignore[arg-type]


async def key_of_the_next_ota(mesh: OtaMesh, pki: Pki) -> bytes:
    """Start a replica with a new timestamp key and return the public key, as an operator does."""
    settings = {"timestamp_key": mesh.directory / "timestamp-2.key"}
    new = start_ota(mesh.start, mesh.processes, mesh.directory, **settings)
    async with client(new.listen, pki) as channel:
        trusted = await release_pb2_grpc.ReleaseServiceStub(channel).GetTrust(release_pb2.GetTrustRequest(), timeout=10)
    new.terminate()
    assert not trusted.timestamp_key_delegated
    return bytes(trusted.timestamp_key)


async def test_device_three_roots_behind_follows_to_current_key(own_mesh: OtaMesh, pki: Pki) -> None:
    listen = own_mesh.ota[0].listen
    async with connected(own_mesh, pki) as updates:
        flash = updates.flash(image_of("old", 9000))  # provisioned with root 1
        second = rotated(updates.root, expires_unix_s=updates.root.expires_unix_s + 1)
        fresh = new_key()
        third = rotated(second, keys=(*second.keys[:3], *public([fresh]), second.keys[4]))
        key = await key_of_the_next_ota(own_mesh, pki)
        fourth = rotated(third, keys=(*third.keys[:4], key))
        assert await refused(updates, envelope(updates, third)) == "ROOT_VERSION"  # no version may be skipped
        for root in (second, third):
            assert await set_root(updates, envelope(updates, root)) == root.version
        updates.keys.releases[1] = fresh
        new = image_of(secrets.token_hex(4), 9000)
        release = await updates.release(new, 2)
        living = asyncio.create_task(updates.live(flash))
        try:
            await all_known(updates, release)
            assert await set_root(updates, envelope(updates, fourth)) == 4
            with pytest.raises(grpc.aio.AioRpcError) as e:
                await updates.start(release)  # no device trusts the signatures of this replica
            info = status.error_info(e.value)
            assert info and info.reason == "TIMESTAMP_KEY"
            own_mesh.ota[0].terminate()
            settings = {"listen": listen, "timestamp_key": own_mesh.directory / "timestamp-2.key"}
            start_ota(own_mesh.start, own_mesh.processes, own_mesh.directory, **settings).ready()
            rollout = await updates.start(release)
            await updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
    assert (flash.image, flash.root_version, flash.root.timestamp) == (new, 4, fourth.timestamp)
    assert flash.root.keys[4] == key


async def all_known(updates: Updates, release: str) -> None:
    request = pb.StartRolloutRequest(spec=pb.RolloutSpec(release_id=release), dry_run=True)

    async def there() -> bool:
        return bool((await updates.rollouts.StartRollout(request, timeout=10)).rollout.counts.total == 1)

    await eventually(there, 30, "the device is known")


async def test_release_of_removed_key_is_no_longer_offered(own_mesh: OtaMesh, pki: Pki) -> None:
    """After the theft of a release key the next root replaces it, which ends its releases."""
    async with connected(own_mesh, pki) as updates:
        release = await updates.release(image_of(secrets.token_hex(4), 9000), 2)
        root = rotated(updates.root, keys=(*updates.root.keys[:3], *public([new_key()]), updates.root.keys[4]))
        assert await set_root(updates, envelope(updates, root)) == 2
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await updates.start(release)
        info = status.error_info(e.value)
        assert info and info.reason == "TOO_FEW_SIGNATURES"


async def test_a_root_needs_the_thresholds_of_both(own_mesh: OtaMesh, pki: Pki) -> None:
    async with connected(own_mesh, pki) as updates:
        others = [new_key(), new_key()]
        root = rotated(updates.root, keys=(*public(others), *updates.root.keys[2:]))
        payload = trust_codec.root_bytes(root)
        old, new = updates.keys.roots, others
        for signers in (old, new, [*old, new[0]], [*new, old[0]]):
            data = trust_codec.envelope_bytes(signed(Role.ROOT, payload, signers))
            assert await refused(updates, data) == "TOO_FEW_SIGNATURES"
        data = trust_codec.envelope_bytes(signed(Role.ROOT, payload, [*old, *new]))
        assert await set_root(updates, data) == 2
        expired = rotated(root, expires_unix_s=1_000_000_000)
        data = trust_codec.envelope_bytes(signed(Role.ROOT, trust_codec.root_bytes(expired), new))
        assert await refused(updates, data) == "METADATA_EXPIRED"
        assert await refused(updates, b"\x00" * 2000) == "METADATA_TOO_LONG"
