"""No bad input to any RPC causes INTERNAL or UNKNOWN, a traceback in a log, or the end of a service.

Generated from the descriptors, see `generate`. By default it sends some hundred requests to each RPC in a few seconds;
with HOSTILE_S (`make hostile`) it sends all of them, and then mutations for that many seconds.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict

import grpc.aio
import pytest

from services.chassis import probe
from services.chassis.credentials import credentials
from tests.fixtures.mesh import client
from tests.fixtures.pki import Pki
from tests.integration.hostile.attack import NEVER, Attack
from tests.integration.hostile.conftest import SERVICES, Everything
from tests.integration.hostile.generate import DEVICE, RAW, Rpc, mutated, requests, rpcs
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc
from yggdrasil.registry.v1 import backup_pb2, backup_pb2_grpc, registry_pb2, registry_pb2_grpc

LONG_S = float(os.environ.get("HOSTILE_S", "0"))
MOST = 10_000 if LONG_S else 40
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
RPCS = rpcs()
CALLERS = (("user", "operator"), *(("service", name) for name in SERVICES))


@pytest.fixture(scope="module")
def registered(everything: Everything, pki: Pki) -> None:
    """Register the device of plausible requests."""
    operator = credentials(pki.files("user", "operator"))
    with grpc.secure_channel(everything.running["registry"].listen, operator) as channel:
        registry_pb2_grpc.RegistryServiceStub(channel).RegisterDevice(
            registry_pb2.RegisterDeviceRequest(device_id=DEVICE, labels={"zone": "hall"})
        )


async def allowed(rpc: Rpc, everything: Everything, pki: Pki) -> tuple[str, str]:
    """Return the first of CALLERS with permission for the RPC."""
    data = rpc.plausible().SerializeToString()
    for caller in CALLERS:
        async with client(everything.running[rpc.process].listen, pki, *caller) as channel:
            if await Attack(rpc, channel).call([data], patience_s=0.2) is not grpc.StatusCode.PERMISSION_DENIED:
                return caller
    raise AssertionError(f"{rpc.path} is for none of {CALLERS}")


@pytest.mark.parametrize("rpc", RPCS, ids=[f"{rpc.id}@{rpc.process}" for rpc in RPCS])
@pytest.mark.timeout(900)
async def test_bad_input_never_looks_like_a_fault_of_the_service(
    everything: Everything, pki: Pki, registered: None, rpc: Rpc
) -> None:
    service, chance = everything.running[rpc.process], random.Random(f"{SEED}{rpc.path}")
    seen = len(service.lines)
    async with client(service.listen, pki, *await allowed(rpc, everything, pki)) as channel:
        attack = Attack(rpc, channel)
        await attack.all(requests(rpc, MOST, chance))
        await attack.odd_calls(rpc.plausible().SerializeToString())
        until = time.monotonic() + LONG_S / len(RPCS)
        while LONG_S and time.monotonic() < until:
            await attack.all([mutated(rpc, chance) for _ in range(100)])
    assert not attack.faults, f"{len(attack.faults)} of {attack.sent}:\n" + "\n".join(attack.faults[:20])
    tracebacks = [line for line in service.lines[seen:] if "Traceback" in line or "request failed" in line]
    assert not tracebacks, "\n".join(tracebacks).replace("\\n", "\n")
    assert probe.serving(service.listen, pki.files("service", rpc.process), 10), f"{rpc.process} is not serving"


async def test_malformed_message_is_an_invalid_argument_everywhere(everything: Everything, pki: Pki) -> None:
    codes: defaultdict[str, set[str]] = defaultdict(set)
    for rpc in RPCS:
        async with client(everything.running[rpc.process].listen, pki, *await allowed(rpc, everything, pki)) as channel:
            codes[(await Attack(rpc, channel).call([RAW[0]])).name].add(rpc.path)
    assert set(codes) == {"INVALID_ARGUMENT"}, codes


@pytest.mark.parametrize("kind", ["other mesh", "device", "expired", "none"])
async def test_a_wrong_certificate_reaches_no_rpc(everything: Everything, pki: Pki, other_pki: Pki, kind: str) -> None:
    files = {
        "other mesh": other_pki.files("user", "operator"),
        "device": pki.files("device", DEVICE),
        "expired": pki.expired("user", "operator"),
    }.get(kind)
    roots = pki.files("user", "operator").read("services.pem")
    key, chain = (files.read("key.pem"), files.read("cert.pem")) if files else (None, None)
    wrong = grpc.ssl_channel_credentials(roots, key, chain)
    for name in SERVICES:
        (rpc, *_) = [one for one in RPCS if one.process == name]
        async with grpc.aio.secure_channel(everything.running[name].listen, wrong) as channel:
            code = await Attack(rpc, channel).call([rpc.plausible().SerializeToString()])
            assert code is grpc.StatusCode.UNAVAILABLE
        assert code not in NEVER


async def test_invalid_id_among_many_is_named(everything: Everything, pki: Pki) -> None:
    async with client(everything.running["jotunheim_bridge"].listen, pki) as channel:
        stub = bridge_pb2_grpc.BridgeServiceStub(channel)
        request = bridge_pb2.InvokeManyRequest(device_ids=[DEVICE, "no id"], capability="led0", action="on")
        with pytest.raises(grpc.aio.AioRpcError) as e:
            async for _ in stub.InvokeMany(request, timeout=10):
                pass
    assert e.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no id" in str(e.value.details())


async def test_a_time_out_of_range_is_not_restored(everything: Everything, pki: Pki) -> None:
    device = registry_pb2.StoredDevice(schema=1, id="late-1", state=registry_pb2.DEVICE_STATE_ACTIVE)
    device.create_time.seconds = 253_402_300_800
    request = backup_pb2.RestoreRequest(records=[backup_pb2.BackupRecord(device=device)])
    async with client(everything.running["registry"].listen, pki) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await backup_pb2_grpc.BackupServiceStub(channel).Restore(iter([request]))
        assert e.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await registry_pb2_grpc.RegistryServiceStub(channel).GetDevice(
                registry_pb2.GetDeviceRequest(device_id="late-1")
            )
        assert e.value.code() is grpc.StatusCode.NOT_FOUND
