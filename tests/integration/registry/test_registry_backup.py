"""Backup during concurrent writes, and restore into an empty mesh, which then compares equal. Real parts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.chassis import buckets, nats
from services.chassis.codec import value_to_proto
from services.chassis.kv import Bucket
from tests.fixtures.mesh import client
from tests.fixtures.nats import Connect, NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService
from tests.fixtures.wait import eventually
from tests.integration.registry.calls import failure, record_contract
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.registry.v1 import backup_pb2 as pb
from yggdrasil.registry.v1 import backup_pb2_grpc, enrolment_pb2_grpc, registry_pb2_grpc, twin_pb2_grpc
from yggdrasil.registry.v1 import enrolment_pb2 as ep
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import twin_pb2 as tp

DEVICES = 40


@dataclass
class Side:
    """A mesh's registry, called by a user and by the bridge."""

    backups: Any
    devices: Any
    as_bridge: Any
    twins: Any
    bridge_twins: Any
    enrolment: Any
    bridge_backups: Any


@asynccontextmanager
async def side(process: ServiceProcess, pki: Pki) -> AsyncIterator[Side]:
    async with (
        client(process.listen, pki) as user,
        client(process.listen, pki, "service", "jotunheim_bridge") as bridge,
    ):
        yield Side(
            backup_pb2_grpc.BackupServiceStub(user),
            registry_pb2_grpc.RegistryServiceStub(user),
            registry_pb2_grpc.RegistryServiceStub(bridge),
            twin_pb2_grpc.TwinServiceStub(user),
            twin_pb2_grpc.TwinServiceStub(bridge),
            enrolment_pb2_grpc.EnrolmentServiceStub(user),
            backup_pb2_grpc.BackupServiceStub(bridge),
        )


@pytest.fixture
async def here(service: ServiceProcess, pki: Pki) -> AsyncIterator[Side]:
    async with side(service, pki) as found:
        yield found


@pytest.fixture
async def there(fresh_nats: NatsServer, start_service: StartService, pki: Pki, tmp_path: Path) -> AsyncIterator[Side]:
    """An empty mesh."""
    process = start_service("registry", nats_url=fresh_nats.url, data_dir=tmp_path / "there")
    async with side(process, pki) as found:
        yield found


def led(maximum: int) -> cp.Capability:
    percent = cp.DataSchema(type=cp.VALUE_TYPE_INT, unit="%", minimum=0, maximum=maximum)
    prop = cp.Property(name="brightness", schema=percent, readable=True, writable=True)
    return cp.Capability(id="led0", type="actuator.led", version=1, properties=[prop])


def brightness(value: int) -> Any:
    return {"led0": value_to_proto({"brightness": value})}


async def fill(at: Side, prefix: str, count: int) -> None:
    """Register devices with labels; add twins and contracts, some with several revisions and builds, to every other."""
    for number in range(count):
        device_id = f"{prefix}-{number:03}"
        await at.devices.RegisterDevice(rp.RegisterDeviceRequest(device_id=device_id, labels={"n": str(number)}))
        if number % 2:
            continue
        for maximum in range(100, 100 + number % 7 + 1):
            last = await record_contract(at.as_bridge, device_id, led(maximum))
        for version in ("1.0.0", "1.1.0", "1.0.0")[: number % 4]:
            await at.as_bridge.RecordContract(
                rp.RecordContractRequest(contract=last.contract, firmware_version=version)
            )
        await at.twins.UpdateTwin(tp.UpdateTwinRequest(device_id=device_id, desired=brightness(number)))
        reported = tp.ReportedProperty(capability_id="led0", property="brightness", value=value_to_proto(7))
        await at.bridge_twins.ReportTwin(
            tp.ReportTwinRequest(device_id=device_id, session_epoch=5, properties=[reported], complete=True)
        )


async def backup(at: Side) -> list[pb.BackupResponse]:
    return [answer async for answer in at.backups.Backup(pb.BackupRequest())]


async def restore(at: Side, records: Iterable[pb.BackupRecord], *, overwrite: bool = False) -> pb.RestoreResponse:
    found = list(records)
    requests = [
        pb.RestoreRequest(records=found[start : start + 50], overwrite=overwrite) for start in range(0, len(found), 50)
    ]
    answer: pb.RestoreResponse = await at.backups.Restore(iter(requests))
    return answer


def as_set(answers: Iterable[pb.BackupResponse]) -> list[bytes]:
    return sorted(answer.record.SerializeToString(deterministic=True) for answer in answers)


def devices_in(answers: Iterable[pb.BackupResponse]) -> dict[str, rp.StoredDevice]:
    found = [a.record.device for a in answers if a.record.HasField("device")]
    assert len(found) == len({device.id for device in found})
    return {device.id: device for device in found}


async def group(connect: Connect, name: str) -> None:
    bucket = await Bucket.create(nats.jetstream(await connect("registry")), buckets.GROUPS)
    stored = rp.StoredGroup(schema=1, name=name, selector="zone=hall", description="the hall")
    await bucket.put(name, stored.SerializeToString(deterministic=True))


async def test_restore_into_empty_mesh_compares_equal(here: Side, there: Side, connect_nats: Connect) -> None:
    await fill(here, "eq", DEVICES)
    await group(connect_nats, "hall")
    taken = await backup(here)
    assert [answer.done for answer in taken] == list(range(1, len(taken) + 1))
    assert {answer.total for answer in taken} == {len(taken)}
    first = await restore(there, (answer.record for answer in taken))
    assert (first.written, first.equal, first.different) == (len(taken), 0, 0)
    assert as_set(await backup(there)) == as_set(taken)
    again = await restore(there, (answer.record for answer in taken))
    assert (again.written, again.equal, again.different) == (0, len(taken), 0)
    assert as_set(await backup(there)) == as_set(taken)
    for device_id in ("eq-006", "eq-007"):
        ask = rp.GetDeviceRequest(device_id=device_id)
        old, new = [(await at.devices.GetDevice(ask)).device for at in (here, there)]
        old.revision = new.revision = 0
        assert old == new
    assert (old.id, new.contract_revision) == ("eq-007", 0)
    request: Any
    for request in (rp.GetContractRequest(device_id="eq-006"), rp.GetContractRequest(device_id="eq-006", revision=3)):
        assert await here.devices.GetContract(request) == await there.devices.GetContract(request)
    for request in (rp.ListContractsRequest(device_id="eq-006"), rp.ListContractsRequest(device_id="eq-004")):
        kept = await there.devices.ListContracts(request)
        assert kept == await here.devices.ListContracts(request)
        assert len(kept.revisions) == (7 if request.device_id == "eq-006" else 5)
    request = tp.GetTwinRequest(device_id="eq-006")
    twin = (await there.twins.GetTwin(request)).twin
    assert (twin.desired, twin.delta) == (brightness(6), brightness(6))
    assert twin == (await here.twins.GetTwin(request)).twin


async def test_restored_device_reports_despite_reset_epochs(here: Side, there: Side) -> None:
    await fill(here, "ep", 2)
    await restore(there, (answer.record for answer in await backup(here)))
    reported = tp.ReportedProperty(capability_id="led0", property="brightness", value=value_to_proto(9))
    await there.bridge_twins.ReportTwin(
        tp.ReportTwinRequest(device_id="ep-000", session_epoch=1, properties=[reported], complete=True)
    )
    twin = (await there.twins.GetTwin(tp.GetTwinRequest(device_id="ep-000"))).twin
    assert twin.reported == brightness(9)


async def test_backup_under_load_holds_all_acknowledged_writes(here: Side, there: Side) -> None:
    await fill(here, "st", DEVICES)
    storming = asyncio.Event()
    storming.set()
    known: dict[str, int] = {}

    async def storm(worker: int) -> int:
        number = 0
        while storming.is_set():
            number += 1
            made = f"sw-{worker}-{number:05}"
            await here.devices.RegisterDevice(rp.RegisterDeviceRequest(device_id=made, labels={"n": str(number)}))
            known[made] = number
            device_id = f"st-{(worker * 7 + number) % DEVICES:03}"
            change = rp.UpdateDeviceRequest(device_id=device_id, labels={f"w{worker}": str(number)})
            await here.devices.UpdateDevice(change)
            known[f"{device_id}/w{worker}"] = number
            await record_contract(here.as_bridge, made, led(100 + number % 50))
            await here.twins.UpdateTwin(tp.UpdateTwinRequest(device_id=made, desired=brightness(number % 100)))
        return number

    writers = [asyncio.create_task(storm(worker)) for worker in range(4)]
    try:
        for _ in range(3):
            written = len(known)
            await eventually(lambda written=written: len(known) > written + 20)  # type: ignore[misc]
            acknowledged = dict(known)
            taken = await backup(here)
            found = devices_in(taken)
            for key, number in acknowledged.items():
                device_id, _, label = key.partition("/")
                assert device_id in found
                assert int(found[device_id].labels[label or "n"]) >= number
            named = [a.record.contract.digest for a in taken if a.record.HasField("contract")]
            have = {
                hashlib.sha256(a.record.contract_body.SerializeToString(deterministic=True)).hexdigest()
                for a in taken
                if a.record.HasField("contract_body")
            }
            assert set(named) <= have
            owners = {a.record.twin_desired.device_id for a in taken if a.record.HasField("twin_desired")}
            assert owners | {a.record.contract.device_id for a in taken if a.record.HasField("contract")} <= set(found)
    finally:
        storming.clear()
        counts = await asyncio.gather(*writers)
    assert sum(counts) > 20
    whole = await restore(there, (answer.record for answer in taken))
    assert (whole.written, whole.different) == (len(taken), 0)
    assert as_set(await backup(there)) == as_set(taken)


async def test_conflicts_are_named_and_kept_unless_overwriting(here: Side, there: Side) -> None:
    await fill(here, "df", 7)
    records = [answer.record for answer in await backup(here) if "df-" in str(answer.record)]
    await restore(there, (answer.record for answer in await backup(here)))
    await there.devices.UpdateDevice(rp.UpdateDeviceRequest(device_id="df-001", labels={"n": "other"}))
    await there.twins.UpdateTwin(tp.UpdateTwinRequest(device_id="df-002", desired=brightness(99)))
    left = await restore(there, records)
    assert (left.written, left.different, left.newer) == (0, 2, 0)
    assert sorted(left.differing) == ["desired twin df-002", "device df-001"]
    assert (await there.devices.GetDevice(rp.GetDeviceRequest(device_id="df-001"))).device.labels["n"] == "other"
    done = await restore(there, records, overwrite=True)
    assert (done.written, done.different) == (2, 0)
    assert (await there.devices.GetDevice(rp.GetDeviceRequest(device_id="df-001"))).device.labels["n"] == "1"
    assert (await restore(there, records)).equal == len(records)


async def test_older_backup_undoes_no_retirement_or_revocation(here: Side) -> None:
    for device_id in ("rv-1", "rv-2"):
        await here.devices.RegisterDevice(rp.RegisterDeviceRequest(device_id=device_id))
    records = [answer.record for answer in await backup(here) if "rv-" in str(answer.record)]
    await here.devices.UpdateDevice(rp.UpdateDeviceRequest(device_id="rv-1", state=rp.DEVICE_STATE_RETIRED))
    revoke = ep.RevokeCertificatesRequest(device_id="rv-2")
    revoked = (await here.enrolment.RevokeCertificates(revoke)).device.revoke_time
    assert sorted((await restore(here, records)).differing) == ["device rv-1", "device rv-2"]
    await restore(here, records, overwrite=True)
    one, other = [(await here.devices.GetDevice(rp.GetDeviceRequest(device_id=f"rv-{n}"))).device for n in (1, 2)]
    assert (one.state, other.revoke_time) == (rp.DEVICE_STATE_RETIRED, revoked)


async def test_restore_cut_off_by_a_kill_completes_when_repeated(
    here: Side, fresh_nats: NatsServer, start_service: StartService, pki: Pki, tmp_path: Path
) -> None:
    await fill(here, "ki", 10)
    for number in range(400):
        await here.devices.RegisterDevice(rp.RegisterDeviceRequest(device_id=f"kd-{number:03}"))
    taken = await backup(here)
    process = start_service("registry", nats_url=fresh_nats.url, data_dir=tmp_path / "killed")
    async with side(process, pki) as killed:
        sent = asyncio.Event()

        async def slowly() -> AsyncIterator[pb.RestoreRequest]:
            for number, answer in enumerate(taken):
                yield pb.RestoreRequest(records=[answer.record])
                if number == len(taken) // 2:
                    sent.set()

        cut_off = asyncio.create_task(failed(killed.backups.Restore(slowly())))
        await sent.wait()
        process.kill()
        assert await cut_off is grpc.StatusCode.UNAVAILABLE
    process = start_service("registry", nats_url=fresh_nats.url, data_dir=tmp_path / "killed")
    async with side(process, pki) as there:
        some = len(await backup(there))
        assert 0 < some < len(taken)
        answer = await restore(there, (one.record for one in taken))
        assert (answer.written, answer.equal, answer.different) == (len(taken) - some, some, 0)
        assert as_set(await backup(there)) == as_set(taken)


async def failed(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code


async def test_backups_are_for_users(here: Side) -> None:
    assert (await failure(here.bridge_backups.Restore(iter([]))))[1] == "CALLER_NOT_ALLOWED"
    stream = here.bridge_backups.Backup(pb.BackupRequest())
    assert (await failure(stream.read()))[1] == "CALLER_NOT_ALLOWED"


async def test_diverged_contract_is_restored_entirely_or_kept(here: Side, there: Side) -> None:
    for maximum in (10, 20, 30):
        await record_contract(here.as_bridge, "hi-1", led(maximum))
    for maximum in (10, 55):
        await record_contract(there.as_bridge, "hi-1", led(maximum))
    records = [answer.record for answer in await backup(here)]
    left = await restore(there, records)
    assert [name for name in left.differing if "contract" in name] == [f"contract {n} of hi-1" for n in (1, 2, 3)]
    current = await there.devices.GetContract(rp.GetContractRequest(device_id="hi-1"))
    assert (current.contract.revision, current.contract.capabilities[0].properties[0].schema.maximum) == (2, 55)
    done = await restore(there, records, overwrite=True)
    assert (done.different, done.newer) == (0, 2)

    async def maxima() -> dict[int, float]:
        kept = (await there.devices.ListContracts(rp.ListContractsRequest(device_id="hi-1"))).revisions
        asked = [rp.GetContractRequest(device_id="hi-1", revision=one.revision) for one in kept]
        found = [(await there.devices.GetContract(ask)).contract for ask in asked]
        return {one.revision: one.capabilities[0].properties[0].schema.maximum for one in found}

    assert await maxima() == {1: 10, 2: 55, 3: 30}
    again = await restore(there, records, overwrite=True)
    assert (again.written, again.different, again.newer) == (0, 0, 2)
    after = await record_contract(there.as_bridge, "hi-1", led(77))
    assert after.contract.revision == 4


async def test_restore_raises_desired_revision_and_keeps_reported(here: Side, there: Side) -> None:
    async def report(percent: int, **more: Any) -> tp.ReportTwinResponse:
        reported = tp.ReportedProperty(capability_id="led0", property="brightness", value=value_to_proto(percent))
        request = tp.ReportTwinRequest(device_id="up-1", session_epoch=1, properties=[reported], **more)
        answer: tp.ReportTwinResponse = await there.bridge_twins.ReportTwin(request)
        return answer

    await record_contract(here.as_bridge, "up-1", led(100))
    await here.twins.UpdateTwin(tp.UpdateTwinRequest(device_id="up-1", desired=brightness(20)))
    reported = tp.ReportedProperty(capability_id="led0", property="brightness", value=value_to_proto(19))
    await here.bridge_twins.ReportTwin(
        tp.ReportTwinRequest(device_id="up-1", session_epoch=9, properties=[reported], complete=True)
    )
    records = [answer.record for answer in await backup(here) if "up-1" in str(answer.record)]
    await record_contract(there.as_bridge, "up-1", led(100))
    for percent in (50, 60, 70):
        await there.twins.UpdateTwin(tp.UpdateTwinRequest(device_id="up-1", desired=brightness(percent)))
    await report(70, complete=True)
    bodies = [answer.record for answer in await backup(here) if not str(answer.record).count("device_id")]
    for _ in range(2):
        done = await restore(there, [*bodies, *records], overwrite=True)
        twin = (await there.twins.GetTwin(tp.GetTwinRequest(device_id="up-1"))).twin
        assert (done.different, twin.revision, twin.desired) == (0, 4, brightness(20))
        assert (twin.reported, twin.reported_revision) == (brightness(70), 1)
    assert not twin.properties[0].drifted
    assert (await report(70, complete=True)).delta == brightness(20)


async def test_a_later_contract_than_that_of_the_backup_stays(here: Side) -> None:
    await record_contract(here.as_bridge, "la-1", led(10))
    records = [answer.record for answer in await backup(here) if "la-1" in str(answer.record)]
    await record_contract(here.as_bridge, "la-1", led(20))
    answer = await restore(here, records, overwrite=True)
    assert (answer.written, answer.equal) == (0, len(records))
    assert (await here.devices.GetContract(rp.GetContractRequest(device_id="la-1"))).contract.revision == 2


GOOD = pb.BackupRecord(group=rp.StoredGroup(schema=1, name="g", selector="a=b"))
BAD = {
    "nothing": pb.BackupRecord(),
    "schema": pb.BackupRecord(group=rp.StoredGroup(schema=2, name="g", selector="a")),
    "selector": pb.BackupRecord(group=rp.StoredGroup(schema=1, name="g", selector="a=,,b")),
    "document": pb.BackupRecord(document=pb.StoredDocument(digest="0" * 64, document=b"other")),
    "device": pb.BackupRecord(device=rp.StoredDevice(schema=1, id="No", state=rp.DEVICE_STATE_ACTIVE)),
    "state": pb.BackupRecord(device=rp.StoredDevice(schema=1, id="no")),
    "body": pb.BackupRecord(contract_body=rp.StoredContractBody(schema=1, capabilities=[cp.Capability(id="Led")])),
    "revision": pb.BackupRecord(contract=rp.StoredContract(schema=1, device_id="no")),
    "twin": pb.BackupRecord(
        twin_desired=tp.StoredTwin(schema=1, device_id="no", properties=[tp.StoredTwinProperty(property="A")])
    ),
    "large": pb.BackupRecord(
        twin_reported=tp.StoredTwin(
            schema=1,
            device_id="no",
            properties=[
                tp.StoredTwinProperty(capability_id="a", property=f"p{n}", value=value_to_proto("x" * 100))
                for n in range(200)
            ],
        )
    ),
}


@pytest.mark.parametrize("which", BAD)
async def test_invalid_record_rejects_its_message_with_position(here: Side, which: str) -> None:
    request = pb.RestoreRequest(records=[GOOD, GOOD, BAD[which]])
    code, reason, data, text = await failure(here.backups.Restore(iter([request])))
    assert (code, reason, data["position"]) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "2")
    assert text.startswith("record 2: ")
    assert not [a for a in await backup(here) if a.record.HasField("group") and a.record.group.name == "g"]


async def test_a_contract_without_its_body_is_refused(here: Side) -> None:
    contract = rp.StoredContract(schema=1, device_id="no-1", revision=1, digest="1" * 64, document_digest="2" * 64)
    request = pb.RestoreRequest(records=[pb.BackupRecord(contract=contract)])
    code, reason, _, text = await failure(here.backups.Restore(iter([request])))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "contract 1 of no-1 refers to contract body 1111" in text
    assert await here.backups.Restore(iter([])) == pb.RestoreResponse()
