"""Scripts' calls over one stream to the bridge: concurrent calls, individual failures, and a crash of the bridge."""

from __future__ import annotations

import asyncio

import pytest

from services.chassis.errors import RemoteError
from services.domain.errors import Code
from services.loki.adapters.pipeline import BridgePipeline
from tests.fixtures.mesh import Mesh, client
from tests.fixtures.wait import eventually
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb


def read(device_id: str) -> pb.PipelineRequest:
    return pb.PipelineRequest(read=pb.ReadPropertyRequest(device_id=device_id, capability="led0", property="on"))


def lit(invoke: link.Invoke) -> link.Result:
    values = [link.Argument(index=0, value=link.LinkValue(boolean=True))]
    return link.Result(call_id=invoke.call_id, status=link.RESULT_STATUS_OK, values=values)


async def test_calls_share_a_stream_and_each_gets_its_own_answer(mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate()
    async with client(mesh.processes.endpoint("jotunheim_bridge"), mesh.pki, "service", "loki") as channel:
        pipeline = BridgePipeline(channel)
        good = asyncio.ensure_future(pipeline.call(read(mesh.one), 5))
        with pytest.raises(RemoteError) as caught:
            await pipeline.call(read("missing"), 5)
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "DEVICE_NOT_FOUND")
        await device.answer(lit)
        assert (await good).read.value.bool is True
        with pytest.raises(RemoteError) as caught:
            await pipeline.call(read(mesh.one), 0.3)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        await pipeline.close()


async def test_bridge_killed_during_call_leaves_outcome_unknown(
    own_mesh: Mesh,
) -> None:
    mesh = own_mesh
    device = await mesh.device()
    await device.negotiate()
    async with client(mesh.processes.endpoint("jotunheim_bridge"), mesh.pki, "service", "loki") as channel:
        pipeline = BridgePipeline(channel)
        waiting = asyncio.ensure_future(pipeline.call(read(mesh.one), 20))
        await device.expect("invoke")
        mesh.processes.running["jotunheim_bridge"].kill()
        with pytest.raises(RemoteError) as caught:
            await waiting
        assert (caught.value.code, caught.value.reason) == (Code.ABORTED, "OUTCOME_UNKNOWN")
        mesh.processes.start("jotunheim_bridge")

        async def answered() -> bool:
            try:
                await pipeline.call(read("missing"), 2)
            except RemoteError as e:
                return e.code is Code.NOT_FOUND
            return False

        await eventually(answered, 20)
        await pipeline.close()
