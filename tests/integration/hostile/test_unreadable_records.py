"""An undecodable record in any bucket does not end a service: it is quarantined and logged, and a restart works."""

from __future__ import annotations

import shutil

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis import buckets
from services.chassis.kv import BucketSpec
from services.ota.adapters import records as ota
from tests.fakes.device import LinkDevice
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer, connector
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually
from tests.integration.hostile.conftest import Everything
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc
from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc, rollout_pb2, rollout_pb2_grpc
from yggdrasil.registry.v1 import backup_pb2, backup_pb2_grpc, registry_pb2, registry_pb2_grpc

BAD, KEY = b"\xff\xfe\xfd", "bad-1"
LATE_KEY = "bad-2"
LATE = registry_pb2.StoredDevice(schema=1, id=LATE_KEY, create_time=Timestamp(seconds=10**15)).SerializeToString()
"""A message that parses, with a time that clients cannot read."""
OWNED: dict[str, tuple[BucketSpec, ...]] = {
    "registry": (
        buckets.DEVICES,
        buckets.CONTRACTS,
        buckets.CONTRACT_BODIES,
        buckets.GROUPS,
        buckets.TWIN_DESIRED,
        buckets.TWIN_REPORTED,
        buckets.TWIN_PROGRAMS,
        buckets.ENROLMENT_TOKENS,
    ),
    "jotunheim_bridge": (buckets.SESSIONS,),
    "ota": (ota.RELEASES, ota.ROLLOUTS, ota.DEVICES, ota.DELTAS),
    "loki": (buckets.SCRIPTS, BucketSpec("programs"), BucketSpec("program_instances")),
}
FOLLOWED = {
    "registry": {"devices", "contracts", "contract_bodies", "sessions"},
    "jotunheim_bridge": {"sessions"},
    "ota": {"releases", "rollouts", "ota_devices", "ota_deltas"},
    "loki": {"scripts"},
}


def quarantined(everything: Everything, name: str) -> set[str]:
    return {line["about"] for line in everything.running[name].log() if line["msg"] == "record quarantined"}


async def _write_bad_records(nats: NatsServer, pki: Pki) -> None:
    async with connector(nats, pki) as connect:
        for service, specs in OWNED.items():
            js = (await connect(service)).jetstream()
            for spec in specs:
                await js.publish(spec.subject(KEY), BAD)
        await (await connect("registry")).jetstream().publish(buckets.DEVICES.subject(LATE_KEY), LATE)


async def _is_quarantined(everything: Everything, name: str) -> None:
    await eventually(lambda: quarantined(everything, name) >= FOLLOWED[name], what=f"quarantine of {name}")


@pytest.mark.timeout(180)
async def test_undecodable_records_end_no_service_and_no_restart(everything: Everything, pki: Pki) -> None:
    async with client(everything.running["registry"].listen, pki) as channel:
        await registry_pb2_grpc.RegistryServiceStub(channel).RegisterDevice(
            registry_pb2.RegisterDeviceRequest(device_id="good-1")
        )
    await _write_bad_records(everything.nats, pki)
    for name in FOLLOWED:
        await _is_quarantined(everything, name)
    for name in FOLLOWED:
        everything.running[name].terminate()
        if name == "registry":
            shutil.rmtree(everything.directory / name)  # its index starts empty
        everything.start(name)  # and reads everything again
    for name in ("registry", "ota", "loki"):
        await _is_quarantined(everything, name)
    await _answers(everything, pki)
    device = await LinkDevice.connect(everything.mesh.endpoint("link"), pki.files("device", "good-1"), "good-1")
    assert (await device.negotiate()).accepted == 1
    device.vanish()


async def _answers(everything: Everything, pki: Pki) -> None:
    """Lists omit the records, a request for one fails with DATA_LOSS, a backup succeeds without them."""
    async with (
        client(everything.running["registry"].listen, pki) as registry,
        client(everything.running["ota"].listen, pki) as ota_channel,
        client(everything.running["jotunheim_bridge"].listen, pki) as bridge,
    ):
        stub = registry_pb2_grpc.RegistryServiceStub(registry)
        listed = await stub.ListDevices(registry_pb2.ListDevicesRequest())
        assert [device.id for device in listed.devices] == ["good-1"]
        assert not (await stub.ListGroups(registry_pb2.ListGroupsRequest())).groups
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await stub.UpdateDevice(registry_pb2.UpdateDeviceRequest(device_id=KEY, revision=1))
        assert e.value.code() in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.NOT_FOUND)
        backup = backup_pb2_grpc.BackupServiceStub(registry).Backup(backup_pb2.BackupRequest())
        kept = [answer.record.WhichOneof("record") async for answer in backup]
        assert kept == ["device"]
        releases = release_pb2_grpc.ReleaseServiceStub(ota_channel)
        assert not (await releases.ListReleases(release_pb2.ListReleasesRequest())).releases
        rollouts = rollout_pb2_grpc.RolloutServiceStub(ota_channel)
        assert not (await rollouts.ListRollouts(rollout_pb2.ListRolloutsRequest())).rollouts
        sessions = bridge_pb2_grpc.BridgeServiceStub(bridge)
        assert not (await sessions.ListSessions(bridge_pb2.ListSessionsRequest())).sessions
