"""Watching events: each once and in order in spite of stalls; two devices with one identity are reported."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.chassis import codec
from services.chassis.nats import jetstream
from services.jotunheim_bridge.adapters.events import JetStreamEvents
from tests.fakes.device import LinkDevice, document
from tests.fixtures.mesh import Mesh
from tests.fixtures.nats import Connect
from tests.fixtures.wait import eventually
from ygg.client import Mesh as Client
from ygg.contexts import Context, Contexts
from ygg.health import collect
from ygg.home import Home
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

MANY = 700  # more than a batch of the stream, and more than the buffer of a stalled reader


def event(sequence: int, device_id: str = "watched-1") -> pb.DeviceEvent:
    return pb.DeviceEvent(
        device_id=device_id,
        kind=pb.EVENT_KIND_EVENT,
        time=codec.timestamp(datetime.now(UTC)),
        capability="led0",
        name="failed",
        boot_id="0" * 15 + "7",
        sequence=sequence,
    )


@pytest.fixture
async def events(connect_fresh_nats: Connect) -> JetStreamEvents:
    client = await connect_fresh_nats("jotunheim_bridge")
    found = JetStreamEvents(client, jetstream(client), "b-1")
    await found.open()
    return found


async def sequences(watch: Any, count: int) -> list[int]:
    async with aclosing(watch.events) as found:
        seen: list[int] = []
        async for _, one in found:
            seen.append(one.sequence)
            if len(seen) == count:
                break
    return seen


async def test_a_watch_shows_events_that_were_published_twice_once(events: JetStreamEvents) -> None:
    watch = await events.watch(["watched-1", "watched-1"], [], None)
    first = [event(number) for number in range(1, MANY)]
    await events.publish(first)
    await events.publish(first)  # as a bridge does after late acknowledgements
    await events.publish([event(MANY)])
    assert await sequences(watch, MANY) == list(range(1, MANY + 1))


async def test_watch_resumes_after_the_given_event(events: JetStreamEvents) -> None:
    begun = await events.watch(["watched-1"], [], None)
    await events.publish([event(number) for number in (1, 2, 3)])
    async with aclosing(begun.events) as found:  # type: ignore[type-var]
        seen = [await anext(found) for _ in range(2)]
    assert [one.sequence for _, one in seen] == [1, 2]
    assert await sequences(await events.watch(["watched-1"], [], seen[-1][0]), 1) == [3]
    assert await sequences(await events.watch([], [pb.EVENT_KIND_EVENT], begun.after), 3) == [1, 2, 3]


async def test_watch_resumes_from_token_of_another_watch(mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate(document())
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_EVENT]))
    begins = int(dict(await watch.initial_metadata())["ygg-watch-sequence"])
    await report(device, 1)
    first = await watch.read()
    watch.cancel()
    await report(device, 2)
    for after, expected in ((begins, 1), (first.sequence, 2)):
        request = pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_EVENT], after_sequence=after)
        again = mesh.bridge.WatchEvents(request)
        assert (await again.read()).event.sequence == expected
        again.cancel()


def context_of(mesh: Mesh) -> Context:
    return Context(
        identity=str(mesh.pki.directory("user", "operator")),
        registry=mesh.processes.endpoint("registry"),
        jotunheim_bridge=mesh.processes.endpoint("jotunheim_bridge"),
    )


def operator(mesh: Mesh) -> Client:
    """Return the command line's client of this mesh."""
    return Client("test", context_of(mesh))


async def test_command_shows_events_missed_during_outage(
    own_mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = own_mesh
    device = await mesh.device()
    await device.negotiate(document())
    monkeypatch.setenv("YGG_HOME", str(tmp_path))
    Contexts(Home.find()).put("test", context_of(mesh))
    command = [sys.executable, "-m", "ygg", "--context", "test", "--json", "device", "watch", mesh.one]
    watch = await asyncio.create_subprocess_exec(
        *command, "--kind", "event", env=os.environ | {"PYTHONPATH": ":".join(sys.path)}, stdout=asyncio.subprocess.PIPE
    )
    assert watch.stdout is not None
    first = asyncio.create_task(watch.stdout.readline())
    number = 0
    try:

        async def begun() -> bool:  # a watch does not show events before its start
            nonlocal number
            number += 1
            await report(device, number)
            return first.done()

        await eventually(begun, 20, "the first event shown")
        watch.send_signal(signal.SIGSTOP)
        mesh.processes.running["jotunheim_bridge"].kill()
        mesh.processes.start("jotunheim_bridge")
        device = await mesh.device()
        await device.negotiate(document(), boot_id=99)
        for sequence in (1, 2):
            await report(device, sequence)
        watch.send_signal(signal.SIGCONT)
        lines = [json.loads(await first)]
        while (lines[-1]["boot_id"], lines[-1]["sequence"]) != (f"{99:016x}", 2):
            lines.append(json.loads(await watch.stdout.readline()))
    finally:
        watch.kill()
        await watch.wait()
    assert [one["sequence"] for one in lines] == [*range(lines[0]["sequence"], number + 1), 1, 2]


async def report(device: LinkDevice, sequence: int) -> None:
    fields = [link.Argument(index=0, value=link.LinkValue(integer=42))]
    device.send(event=link.Event(sequence=sequence, capability=0, event=0, fields=fields))
    assert (await device.expect("event_ack")).sequence == sequence


async def connects(mesh: Mesh, boot_id: int) -> pb.Session:
    device = await mesh.device()
    await device.negotiate(document(), boot_id=boot_id)
    answer = await mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one))
    session: pb.Session = answer.session
    return session


async def test_two_devices_of_one_identity_are_named(mesh: Mesh) -> None:
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_ONLINE]))
    await watch.initial_metadata()
    sessions = [await connects(mesh, boot_id) for boot_id in (71, 72, 71, 72)]
    assert [one.HasField("identity_conflict_time") for one in sessions] == [False, False, True, True]
    assert sessions[2].identity_conflict_peer == sessions[1].peer
    seen = [(await watch.read()).event.identity_conflict_peer for _ in sessions]
    assert seen == ["", "", sessions[1].peer, sessions[2].peer]
    watch.cancel()
    with operator(mesh) as client:
        bridge = next(one for one in await asyncio.to_thread(collect, client) if one.service == "jotunheim_bridge")
    assert bridge.note.endswith(f"identity used by two devices: {mesh.one}")


async def test_a_device_that_restarts_or_reconnects_is_one_device(mesh: Mesh) -> None:
    sessions = [await connects(mesh, boot_id) for boot_id in (71, 72, 72, 73, 74, 75, 76)]
    assert not any(one.HasField("identity_conflict_time") for one in sessions)
    assert len(sessions[-1].previous_boot_ids) == 4
