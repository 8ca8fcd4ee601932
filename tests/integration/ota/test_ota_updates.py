"""Updates from signed release to confirmed boot: real services, a real link, real signatures; devices in Python."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis import nats, status
from services.chassis.nats import jetstream
from services.chassis.streams import read
from services.domain.subjects import OTA_STREAM
from tests.fakes.device import LinkEndedError
from tests.fakes.ota_device import Flash, booted
from tests.fakes.ota_keys import image_of
from tests.fixtures.pki import Pki
from tests.fixtures.updates import OtaMesh, Updates
from tests.fixtures.wait import eventually, pace
from ygg.ota import metadata
from yggdrasil.device.v1 import ota_pb2 as ota
from yggdrasil.ota.v1 import relay_pb2, release_pb2
from yggdrasil.ota.v1 import rollout_pb2 as pb

DONE, HALTED, RUNNING, WAITING = (
    pb.ROLLOUT_STATE_DONE,
    pb.ROLLOUT_STATE_HALTED,
    pb.ROLLOUT_STATE_RUNNING,
    pb.ROLLOUT_STATE_WAITING,
)
ALL = [pb.Wave(percent=100)]


@contextlib.asynccontextmanager
async def fleet(updates: Updates, flashes: list[Flash], bad: bytes = b"") -> AsyncIterator[list[Flash]]:
    """Run devices that take updates for the duration of the block."""
    tasks = [asyncio.create_task(updates.live(flash, bad=bad)) for flash in flashes]
    try:
        yield flashes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def known(updates: Updates, release_id: str, count: int) -> None:
    """Wait until `count` devices are eligible for the release."""
    request = pb.StartRolloutRequest(spec=pb.RolloutSpec(release_id=release_id), dry_run=True)

    async def all_there() -> bool:
        counts = (await updates.rollouts.StartRollout(request, timeout=10)).rollout.counts
        return bool(counts.total == count)

    await eventually(all_there, 20, f"{count} devices")


async def refused(call: Any, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert status.from_rpc(caught.value, "ota").reason == reason


def old(name: str = "v1") -> bytes:
    return image_of(f"{name}-{secrets.token_hex(4)}", 9000)


async def test_one_device_from_offer_to_confirmed(updates: Updates) -> None:
    new = old("v2")
    release = await updates.release(new, 2)
    flash = updates.flash(old())
    async with fleet(updates, [flash]):
        await known(updates, release, 1)
        rollout = await updates.start(release)
        done = await updates.wait(rollout.id, DONE)
    assert (flash.image, flash.sequence, done.counts.confirmed) == (new, 2, 1)


async def test_waves_reach_all_and_each_device_is_started_once(updates: Updates) -> None:
    release = await updates.release(new := old("v2"), 2)
    flashes = [updates.flash(old()) for _ in range(8)]
    async with fleet(updates, flashes):
        await known(updates, release, 8)
        rollout = await updates.start(release, waves=[pb.Wave(count=1), pb.Wave(percent=50), *ALL])
        done = await updates.wait(rollout.id, DONE)
    assert done.counts.confirmed == 8
    assert all(flash.image == new for flash in flashes)
    found = await updates.rollouts.ListUpdates(pb.ListUpdatesRequest(rollout_id=rollout.id), timeout=10)
    assert [u.stage for u in found.updates] == ["confirmed"] * 8


async def test_every_step_is_an_event(updates: Updates, ota_mesh: OtaMesh, pki: Pki) -> None:
    good, bad = old("v2"), old("v3")
    releases = [await updates.release(good, 2), await updates.release(bad, 3)]
    flash = updates.flash(old())
    async with fleet(updates, [flash], bad=bad):
        await known(updates, releases[0], 1)
        done = await updates.start(releases[0], waves=[pb.Wave(count=1), *ALL], soak_s=1, approval=True)
        await updates.wait(done.id, WAITING)
        await updates.control(done.id, pb.ROLLOUT_CONTROL_PAUSE)
        await updates.control(done.id, pb.ROLLOUT_CONTROL_RESUME)
        await updates.control(done.id, pb.ROLLOUT_CONTROL_APPROVE)
        await updates.wait(done.id, DONE)
        halted = await updates.start(releases[1])
        await updates.wait(halted.id, HALTED)
        await updates.control(halted.id, pb.ROLLOUT_CONTROL_ABORT)
    steps = ["started", "offered", "downloading", "trial"]
    control = ["created", "soaking", "waiting", "paused", "resumed", "approved", "wave", "done"]
    assert await events_of(ota_mesh, pki, done.id) == (control, [*steps, "confirmed"])
    assert await events_of(ota_mesh, pki, halted.id) == (["created", "halted", "aborted"], [*steps, "reverted"])


async def events_of(mesh: OtaMesh, pki: Pki, rollout_id: str) -> tuple[list[str], list[str]]:
    """Return the events of a rollout and of its only device, in order, without `attend` events."""
    found: dict[bool, list[str]] = {True: [], False: []}
    async with nats.connect(mesh.processes.nats.url, pki.files("service", "ota"), "ota") as connection:
        async for batch in read(jetstream(connection.client), OTA_STREAM, [f"ygg.v1.main.ota.{rollout_id}.>"]):
            for record in batch:
                kind = record.subject.rpartition(".")[2]
                if kind != "attend":
                    found[record.headers["ce-subject"] == rollout_id].append(kind)
    return found[True], found[False]


async def test_a_bad_release_halts_at_the_canaries_and_the_rest_stays(updates: Updates) -> None:
    bad = old("v3")
    release = await updates.release(bad, 3)
    flashes = [updates.flash(old()) for _ in range(8)]
    before = [flash.image for flash in flashes]
    async with fleet(updates, flashes, bad=bad):
        await known(updates, release, 8)
        rollout = await updates.start(release, waves=[pb.Wave(count=2), *ALL], halt_count=1)
        halted = await updates.wait(rollout.id, HALTED)
    assert (halted.counts.reverted >= 1, halted.counts.waiting) == (True, 6)
    assert [flash.image for flash in flashes] == before
    assert "the limit is 1" in halted.reason


async def test_reverted_devices_are_retried_only_by_policy(updates: Updates) -> None:
    bad = old("v3")
    release = await updates.release(bad, 3)
    async with fleet(updates, [updates.flash(old())], bad=bad):
        await known(updates, release, 1)
        rollout = await updates.start(release)
        await updates.wait(rollout.id, HALTED)
        await refused(updates.start(release), "NOTHING_TO_UPDATE")
        again = await updates.start(release, retry_failed=True)
        await updates.wait(again.id, HALTED)


async def test_a_halt_rolls_the_fleet_back_to_the_release_before(updates: Updates) -> None:
    good, bad = old("v2"), old("v3")
    first = await updates.release(good, 2)
    second = await updates.release(bad, 3)
    flashes = [updates.flash(good, sequence=2) for _ in range(4)]
    broken = [True]

    async def live(flash: Flash, fails: bool) -> None:
        while True:
            with contextlib.suppress(LinkEndedError, ConnectionError):
                device = await updates.device(flash, ids[id(flash)])
                image = await device.run(within_s=120)
                await device.wire.drain()
                device.wire.close()
                booted(flash, image, good=not (fails and image == bad and broken))
            await pace(0.1)

    ids = {id(flash): f"dev-{secrets.token_hex(4)}" for flash in flashes}
    tasks = [asyncio.create_task(live(flash, fails=i == 0)) for i, flash in enumerate(flashes)]
    try:
        await known(updates, second, 4)
        rollout = await updates.start(second, halt_count=1, roll_back_on_halt=True)
        await updates.wait(rollout.id, HALTED)
        back = await updates.wait(f"{rollout.id}-back", DONE)
        await eventually(lambda: all(flash.image == good for flash in flashes), 20)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert back.rolls_back == rollout.id
    assert back.spec.release_id == first


async def rounds_passed(updates: Updates) -> None:
    """Wait until a new rollout of another class is over: the conductor has then visited every rollout."""
    other = replace(updates, device_class=f"class-{secrets.token_hex(4)}")
    release = await other.release(old("other"), 2)
    async with fleet(other, [other.flash(old())]):
        await known(other, release, 1)
        await other.wait((await other.start(release)).id, DONE)


async def test_pause_holds_the_next_wave_and_resume_lets_it_go(updates: Updates) -> None:
    release = await updates.release(old("v2"), 2)
    async with fleet(updates, [updates.flash(old()) for _ in range(3)]):
        await known(updates, release, 3)
        rollout = await updates.start(release, waves=[pb.Wave(count=1), *ALL], approval=True)
        await updates.wait(rollout.id, WAITING)
        await updates.control(rollout.id, pb.ROLLOUT_CONTROL_PAUSE)
        await updates.control(rollout.id, pb.ROLLOUT_CONTROL_APPROVE)
        await rounds_passed(updates)
        assert (await updates.get(rollout.id)).counts.confirmed == 1
        await updates.control(rollout.id, pb.ROLLOUT_CONTROL_RESUME)
        await updates.wait(rollout.id, DONE)


async def test_abort_stops_a_device_in_the_middle_of_its_chunks(updates: Updates) -> None:
    release = await updates.release(image_of("large", 400_000), 2)
    device = await updates.device(updates.flash(old()), window=1)
    await known(updates, release, 1)
    rollout = await updates.start(release)
    running = asyncio.create_task(device.run())
    await eventually(lambda: device.chunks >= 3)
    await updates.control(rollout.id, pb.ROLLOUT_CONTROL_ABORT)
    await eventually(lambda: device.ended)
    running.cancel()
    assert device.ended[0].code == ota.OTA_CODE_ABORTED

    async def taken_down() -> bool:
        return bool((found := await updates.get(rollout.id)).final and found.counts.stopped == 1)

    await eventually(taken_down, what="the service knows")


async def test_resume_after_a_halt_gives_a_stopped_device_its_update(updates: Updates) -> None:
    new = image_of("large", 120_000)
    release = await updates.release(new, 2)
    flash = updates.flash(old())
    slow = await updates.device(flash, window=1)
    async with fleet(updates, [updates.flash(old())], bad=new):
        await known(updates, release, 2)
        rollout = await updates.start(release, halt_count=1)
        loading = asyncio.create_task(slow.run(within_s=60))
        await eventually(lambda: slow.ended, 30, "it is stopped in the middle")
        halted = await updates.wait(rollout.id, HALTED)
        assert (halted.counts.reverted, halted.counts.confirmed) == (1, 0)
        slow.window = 32
        resumed = await updates.control(rollout.id, pb.ROLLOUT_CONTROL_RESUME)
        assert (resumed.state, resumed.acknowledged_failures) == (RUNNING, 1)
        booted(flash, await loading)
        slow.say_status()
        done = await updates.wait(rollout.id, DONE)
    assert (slow.ended[0].code, flash.image) == (ota.OTA_CODE_ABORTED, new)
    assert done.counts == pb.RolloutCounts(total=2, confirmed=1, reverted=1)
    found = await updates.rollouts.ListUpdates(pb.ListUpdatesRequest(rollout_id=rollout.id), timeout=10)
    assert [u.written_bytes for u in found.updates if u.stage == "confirmed"] == [len(new)]


async def test_counts_of_a_finished_rollout_do_not_change(updates: Updates) -> None:
    releases = [await updates.release(old("v2"), 2), await updates.release(old("v3"), 3)]
    async with fleet(updates, [updates.flash(old()) for _ in range(2)]):
        await known(updates, releases[0], 2)
        first = await updates.start(releases[0])
        before = await updates.wait(first.id, DONE)
        second = await updates.start(releases[1])
        await updates.wait(second.id, DONE)
        after = await updates.get(first.id)
    assert before.final
    assert (after, after.counts.confirmed) == (before, 2)
    found = await updates.rollouts.ListUpdates(pb.ListUpdatesRequest(rollout_id=first.id), timeout=10)
    assert [u.stage for u in found.updates] == ["confirmed"] * 2


async def test_a_device_that_comes_later_waits(updates: Updates) -> None:
    release = await updates.release(old("v2"), 2)
    await updates.device(updates.flash(old()))
    await known(updates, release, 1)
    waiting = await updates.start(release)
    late = updates.flash(old())
    async with fleet(updates, [late]):

        async def came() -> bool:
            return bool((await updates.get(waiting.id)).counts.late == 1)

        await eventually(came, 20, "it matches")
        await updates.control(waiting.id, pb.ROLLOUT_CONTROL_ABORT)
    assert late.sequence == 0


async def test_interrupted_download_resumes_at_its_offset(updates: Updates) -> None:
    new = image_of("resumed", 40_000)
    release = await updates.release(new, 2)
    flash = updates.flash(old())
    first = await updates.device(flash, "cut-" + secrets.token_hex(3), cut_after=30)
    await known(updates, release, 1)
    rollout = await updates.start(release)
    with pytest.raises(LinkEndedError):
        await first.run()
    assert len(flash.written) == 30 * 512
    second = await updates.device(flash, first.wire.device_id)
    assert await second.run() == new
    assert second.chunks == 79 - 30
    assert (await updates.get(rollout.id)).counts.failed == 0


async def test_a_damaged_chunk_is_asked_for_again_and_never_written(updates: Updates) -> None:
    new = old("v2")
    release = await updates.release(new, 2)
    device = await updates.device(updates.flash(old()), spoil=True)
    await known(updates, release, 1)
    await updates.start(release)
    assert await device.run() == new


async def test_a_patch_is_made_for_the_image_that_the_device_runs(updates: Updates) -> None:
    before = image_of("patch", 60_000)
    after = before[:30_000] + b"a new function" + before[30_000:]
    await updates.upload(before)
    release = await updates.release(after, 2)
    device = await updates.device(updates.flash(before, formats=3))
    await known(updates, release, 1)
    rollout = await updates.start(release)
    assert await device.run(within_s=30) == after
    assert device.chunks <= 20
    found = await updates.rollouts.ListUpdates(pb.ListUpdatesRequest(rollout_id=rollout.id), timeout=10)
    assert found.updates[0].delta


@pytest.mark.parametrize("stored", [True, False])
async def test_signed_patch_is_offered_when_stored(updates: Updates, stored: bool) -> None:
    before = image_of("signed", 60_000)
    new = before[:30_000] + secrets.token_bytes(64) + before[30_000:]
    patch = metadata.make_patch(before, new)
    manifest = metadata.with_patch(updates.manifest(new, 2), before, patch)
    await updates.upload(new)
    if stored:
        await updates.upload(patch)
    request = release_pb2.CreateReleaseRequest(envelope=updates.envelope(manifest))
    release = (await updates.releases.CreateRelease(request, timeout=10)).release.id
    flash = updates.flash(before, formats=3)
    async with fleet(updates, [flash]):
        await known(updates, release, 1)
        rollout = await updates.start(release)
        await updates.wait(rollout.id, DONE)
        found = await updates.rollouts.ListUpdates(pb.ListUpdatesRequest(rollout_id=rollout.id), timeout=10)
    assert flash.image == new
    assert found.updates[0].delta is stored


async def test_a_device_that_refuses_the_patch_gets_the_image(updates: Updates) -> None:
    before = image_of("nopatch", 20_000)
    after = before[:10_000] + b"new" + before[10_000:]
    await updates.upload(before)
    release = await updates.release(after, 2)
    device = await updates.device(updates.flash(before, formats=3))
    await known(updates, release, 1)
    await updates.start(release)
    offer = await device.expect("ota_offer", 20)
    assert offer.HasField("delta")
    device.wire.send(ota_reject=ota.OtaReject(update_id=offer.update_id, code=ota.OTA_CODE_PATCH))
    device.say_status()
    while (frame := await device.receive()).WhichOneof("body") != "ota_offer":
        pass
    assert not frame.ota_offer.HasField("delta")


# --- attacks, refused by the service


async def create(updates: Updates, envelope: bytes) -> None:
    await updates.releases.CreateRelease(release_pb2.CreateReleaseRequest(envelope=envelope), timeout=10)


async def test_arbitrary_software_is_refused_on_upload(updates: Updates) -> None:
    image = old()
    await updates.upload(image)
    await refused(create(updates, updates.envelope(updates.manifest(image, 2), signers=0)), "TOO_FEW_SIGNATURES")


async def test_a_stolen_single_key_is_refused_on_upload(updates: Updates) -> None:
    image = old()
    await updates.upload(image)
    await refused(create(updates, updates.envelope(updates.manifest(image, 2), signers=1)), "TOO_FEW_SIGNATURES")


async def test_endless_metadata_is_refused_on_upload(updates: Updates) -> None:
    await refused(create(updates, bytes(1025)), "METADATA_TOO_LONG")


async def test_an_expired_release_is_refused_on_upload(updates: Updates) -> None:
    image = old()
    await updates.upload(image)
    await refused(
        create(updates, updates.envelope(updates.manifest(image, 2, expires_unix_s=1000))), "METADATA_EXPIRED"
    )


async def test_a_manifest_of_an_image_of_another_length_is_refused(updates: Updates) -> None:
    image = old()
    await updates.upload(image)
    longer = updates.manifest(image, 2, image_size_bytes=len(image) + 1)
    await refused(create(updates, updates.envelope(longer)), "RELEASE_REFUSED")


async def test_a_second_release_of_the_same_sequence_is_refused(updates: Updates) -> None:
    await updates.release(old(), 2)
    await refused(updates.release(old(), 2), "RELEASE_REFUSED")


async def test_nothing_below_the_security_floor_is_released_or_offered(updates: Updates) -> None:
    release = await updates.release(old(), 2)
    floor = release_pb2.SetFloorRequest(device_class=updates.device_class, security_counter=5)
    assert (await updates.releases.SetFloor(floor, timeout=10)).security_counter == 5
    floor.security_counter = 3
    assert (await updates.releases.SetFloor(floor, timeout=10)).security_counter == 5
    await refused(updates.start(release), "SECURITY_COUNTER")
    await refused(updates.release(old(), 3), "SECURITY_COUNTER")


async def test_a_root_signed_by_strangers_is_refused(updates: Updates) -> None:
    from services.chassis import trust_codec
    from services.domain.trust import Role
    from tests.fakes.ota_keys import new_key, signed

    stranger = replace(updates.root, version=2)
    data = trust_codec.envelope_bytes(signed(Role.ROOT, trust_codec.root_bytes(stranger), [new_key(), new_key()]))
    await refused(updates.releases.SetRoot(release_pb2.SetRootRequest(envelope=data), timeout=10), "TOO_FEW_SIGNATURES")


async def test_missing_root_is_not_found(updates: Updates) -> None:
    found = updates.releases.GetTrust(release_pb2.GetTrustRequest(version=7), timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await found
    info = status.error_info(e.value)
    assert (e.value.code(), info and info.reason) == (grpc.StatusCode.NOT_FOUND, "ROOT_NOT_FOUND")


async def test_a_device_of_another_class_is_not_updated(updates: Updates) -> None:
    release = await updates.release(old(), 2)
    await updates.device(updates.flash(old()), device_class="another-class")
    await refused(updates.start(release), "NOTHING_TO_UPDATE")


async def test_people_may_not_speak_for_devices(updates: Updates) -> None:
    from services.chassis import channel
    from yggdrasil.ota.v1 import relay_pb2_grpc

    async with channel.connect(updates.ota[0].listen, updates.pki.files("user", "operator"), "ota") as connected:
        stub = relay_pb2_grpc.RelayServiceStub(connected)
        await refused(stub.Report(relay_pb2.ReportRequest(device_id="x"), timeout=10), "CALLER_NOT_ALLOWED")
        many = relay_pb2.ReportManyRequest(reports=[relay_pb2.ReportRequest(device_id="x")])
        await refused(stub.ReportMany(many, timeout=10), "CALLER_NOT_ALLOWED")


async def test_invalid_report_fails_alone_in_its_batch(updates: Updates) -> None:
    wrong = relay_pb2.ReportRequest(device_id="x", status=ota.OtaStatus(nonce=b"short"))
    right = relay_pb2.ReportRequest(device_id="y", progress=ota.OtaProgress(update_id=1))
    answer = await updates.relay.ReportMany(relay_pb2.ReportManyRequest(reports=[wrong, right]), timeout=10)
    assert [one.WhichOneof("outcome") for one in answer.results] == ["failure", "response"]
    assert answer.results[0].failure.reason == "INVALID_REQUEST"
    for count in (0, 65):
        many = relay_pb2.ReportManyRequest(reports=[right] * count)
        await refused(updates.relay.ReportMany(many, timeout=10), "INVALID_REQUEST")


async def test_reported_success_requires_the_running_image(updates: Updates) -> None:
    """A compromised bridge reports success: without a device that runs the image, the release is not confirmed."""
    image = old("v2")
    release = await updates.release(image, 2)
    device = await updates.device(updates.flash(old()))
    await known(updates, release, 1)
    rollout = await updates.start(release)
    offer = await device.expect("ota_offer", 20)
    lie = ota.OtaResult(update_id=offer.update_id, outcome=ota.OTA_OUTCOME_CONFIRMED)
    await updates.relay.Report(relay_pb2.ReportRequest(device_id=device.wire.device_id, result=lie), timeout=10)
    assert (await updates.get(rollout.id)).counts.confirmed == 0
    release_data = (
        await updates.releases.ListReleases(
            release_pb2.ListReleasesRequest(device_class=updates.device_class), timeout=10
        )
    ).releases[0]
    assert release_data.image_sha256 == hashlib.sha256(image).hexdigest()
