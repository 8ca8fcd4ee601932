"""Updates of the real agent: its executable is in slots of a flash file, and it restarts itself into a new image.

Real registry, bridge, ota and nats-server; images are the agent built with other versions (`make -C firmware image`).
Image 3 speaks another protocol than the bridge: it boots and never gets a session.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from services.chassis import trust_codec
from services.domain import merkle
from services.domain.trust import Role
from tests.fakes.board import AGENT, Agent
from tests.fakes.ota_keys import SLOT, image_of, signed
from tests.fixtures.mesh import client
from tests.fixtures.updates import Updates
from tests.fixtures.wait import eventually
from yggdrasil.ota.v1 import rollout_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
MUTE = "3.0.0"
TRIAL_MS = 4000
CHUNK = 2048


def image(version: str) -> bytes:
    """Return the agent's executable of that version; build it if it is missing."""
    path = AGENT.parents[1] / "images" / f"ygg-agent-{version}"
    if not path.exists():
        options = [f"PYTHON={sys.executable}", f"VERSION={version}", *(["MUTE=1"] if version == MUTE else [])]
        subprocess.run(["make", "-C", str(FIRMWARE), "image", *options], check=True, capture_output=True)
    return path.read_bytes()


def executable(pid: int) -> str:
    """Return the executable of a process."""
    return str(Path(f"/proc/{pid}/exe").readlink())


class Device:
    """One agent with slots. Its file, the first image, also serves as its bootloader."""

    def __init__(self, updates: Updates, directory: Path) -> None:
        self.updates, self.directory = updates, directory
        self.id = f"slot-{secrets.token_hex(4)}"
        self.flash = directory / "flash"
        root = signed(Role.ROOT, trust_codec.root_bytes(updates.root), updates.keys.roots)
        (directory / "root").write_bytes(trust_codec.envelope_bytes(root))
        self.agent: Agent

    def switch_on(self, *options: str) -> None:
        """Start the agent, as after a power cut."""
        directory = self.directory
        slots = [f"--slots={self.flash}", f"--ota-root={directory / 'root'}", f"--slot-bytes={SLOT}"]
        link = self.updates.processes.endpoint("link")
        identity = self.updates.pki.directory("device", self.id)
        self.agent = Agent.one(
            self.id,
            link,
            identity,
            directory,
            *slots,
            f"--trial-ms={TRIAL_MS}",
            f"--device-class={self.updates.device_class}",
            *options,
        )

    def cut(self) -> None:
        """Cut the power by SIGKILL: no Goodbye, no flush."""
        self.agent.process.kill()
        self.agent.process.wait()

    def damage(self, image: bytes) -> None:
        """Flip a bit in the middle of an image in flash. The file is inverted: an erased byte is 0."""
        flash = bytearray(self.flash.read_bytes())
        at = flash.find(bytes(~byte & 0xFF for byte in image[:256]))
        assert at >= 0
        flash[at + len(image) // 2] ^= 1
        self.flash.write_bytes(flash)

    async def record(self) -> rp.Device:
        """Return the registry's record of the device."""
        async with client(self.updates.processes.endpoint("registry"), self.updates.pki) as channel:
            stub: Any = registry_pb2_grpc.RegistryServiceStub(channel)
            device: rp.Device = (await stub.GetDevice(rp.GetDeviceRequest(device_id=self.id), timeout=5)).device
            return device

    async def label(self, **labels: str) -> None:
        """Set labels of the device, as a user."""
        async with client(self.updates.processes.endpoint("registry"), self.updates.pki) as channel:
            stub: Any = registry_pb2_grpc.RegistryServiceStub(channel)
            await stub.UpdateDevice(rp.UpdateDeviceRequest(device_id=self.id, labels=labels), timeout=5)

    async def runs(self, version: str, slot: str, within_s: float = 30.0) -> None:
        """Wait until the registry reports that firmware and slot."""

        async def matches() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):  # not known yet
                device = await self.record()
                return (device.firmware_version, device.slot) == (version, slot)
            return False

        await eventually(matches, within_s, f"{self.id} runs {version} from {slot}; {self.agent.log()}")


@pytest.fixture
async def device(updates: Updates, tmp_path: Path) -> AsyncIterator[Device]:
    """A new device with image 1 in slot A, in session."""
    image("1.0.0")
    found = Device(updates, tmp_path)
    found.switch_on()
    await found.runs("1.0.0", "A")
    yield found
    found.cut()


async def roll_out(device: Device, version: str, sequence: int, chunk: int = CHUNK, **spec: Any) -> pb.Rollout:
    """Release the image and start a rollout once ota knows the device."""
    data = image(version)
    root = merkle.Tree.of(data, chunk).root
    release = await device.updates.release(data, sequence, chunk_size_bytes=chunk, chunks_root=root)

    async def begun() -> pb.Rollout | None:
        with contextlib.suppress(grpc.aio.AioRpcError):  # no device to update yet
            return await device.updates.start(release, **spec)
        return None

    found: pb.Rollout = await eventually(begun, 20, "a rollout")
    return found


async def test_agent_restarts_into_the_new_image(device: Device) -> None:
    process = device.agent.process
    rollout = await roll_out(device, "2.0.0", 2)
    await device.updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE)
    await device.runs("2.0.0", "B")
    assert process.poll() is None  # the same process: execve
    assert "memfd" in executable(process.pid)


async def test_image_reverts_when_bridge_is_unreachable(device: Device) -> None:
    rollout = await roll_out(device, "3.0.0", 2)
    halted = await device.updates.wait(rollout.id, pb.ROLLOUT_STATE_HALTED, within_s=60)
    assert halted.counts.reverted == 1
    await device.runs("1.0.0", "A")
    assert "ota_reverting" in device.agent.log()


async def test_power_is_cut_again_and_again_while_it_loads(device: Device) -> None:
    rollout = await roll_out(device, "2.0.0", 2, chunk=256)  # small chunks leave time for all cuts
    for cuts in range(5):

        def loading(before: int = cuts) -> bool:
            return device.agent.log().count("ota_accepted") > before

        await eventually(loading, 30, device.agent.log())
        device.cut()
        device.switch_on()
    await device.updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE, within_s=60)
    await device.runs("2.0.0", "B")


async def test_abort_covers_offline_and_relabelled_device(device: Device) -> None:
    zone = f"zone-{secrets.token_hex(4)}"
    await device.label(zone=zone)
    rollout = await roll_out(device, "2.0.0", 2, chunk=256, selector=f"zone={zone}")
    await eventually(lambda: "ota_accepted" in device.agent.log(), 30, "it loads")
    device.cut()
    assert "ota_installed" not in device.agent.log()  # the download was in progress
    await device.label(zone="elsewhere")
    aborted = await device.updates.control(rollout.id, pb.ROLLOUT_CONTROL_ABORT)
    assert (aborted.state, aborted.counts.downloading) == (pb.ROLLOUT_STATE_ABORTED, 1)
    device.switch_on()

    async def ended() -> bool:
        return (await device.updates.get(rollout.id)).final

    await eventually(ended, 30, "the rollout is a record")
    assert (await device.updates.get(rollout.id)).counts == pb.RolloutCounts(total=1, stopped=1)
    await device.runs("1.0.0", "A")
    assert "ota_installed" not in device.agent.log()


async def test_confirmed_image_survives_power_cut_and_rolls_back(device: Device) -> None:
    first = await roll_out(device, "2.0.0", 2)
    await device.updates.wait(first.id, pb.ROLLOUT_STATE_DONE)
    device.cut()
    device.switch_on()
    await device.runs("2.0.0", "B")
    rollout = await roll_out(device, "1.0.0", 3)
    await device.updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE)
    await device.runs("1.0.0", "A")


async def test_local_user_reverts_the_image(device: Device) -> None:
    assert device.agent.ask(f"rollback {device.id}").startswith("error: no image to roll back to")
    rollout = await roll_out(device, "2.0.0", 2)
    await device.updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE)
    await device.runs("2.0.0", "B")
    assert device.agent.ask(f"rollback {device.id}") == "ok"
    await device.runs("1.0.0", "A")
    device.cut()
    device.switch_on()
    await device.runs("1.0.0", "A")  # it was confirmed


async def test_patch_is_used_when_service_has_running_image(device: Device) -> None:
    await device.updates.upload(AGENT.read_bytes())  # the content of slot A
    rollout = await roll_out(device, "2.0.0", 2)
    await device.updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE)
    await device.runs("2.0.0", "B")
    assert "kind=patch" in device.agent.log()


async def test_many_in_one_process_restart_within_it(updates: Updates, tmp_path: Path) -> None:
    first, second = image_of("first", 40_000), image_of("second", 50_000)
    (tmp_path / "factory").write_bytes(first)
    (tmp_path / "flash").mkdir()
    Device(updates, tmp_path)  # creates the root
    prefix, count = f"many-{secrets.token_hex(3)}", 5
    identities = [updates.pki.directory("device", f"{prefix}-{i + 1}") for i in range(count)]
    agent = Agent(
        prefix,
        updates.processes.endpoint("link"),
        tmp_path,
        f"--count={count}",
        f"--identities={identities[0].parent}",
        f"--ca={identities[0] / 'services.pem'}",
        f"--slots={tmp_path / 'flash'}",
        f"--ota-root={tmp_path / 'root'}",
        f"--slot-bytes={SLOT}",
        f"--factory-image={tmp_path / 'factory'}",
        f"--device-class={updates.device_class}",
    )
    try:
        await eventually(agent.active, 20, agent.log())
        release = await updates.release(second, 2)
        await known(updates, release, count)
        rollout = await updates.start(release)
        done = await updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE)
        assert done.counts.confirmed == count
        assert agent.log().count("restart_in_process") == count
    finally:
        agent.kill()


async def known(updates: Updates, release: str, count: int) -> None:
    """Wait until `count` devices are eligible for the release."""
    request = pb.StartRolloutRequest(spec=pb.RolloutSpec(release_id=release), dry_run=True)

    async def there() -> bool:
        return bool((await updates.rollouts.StartRollout(request, timeout=10)).rollout.counts.total == count)

    await eventually(there, 20, f"{count} devices")


async def test_safe_mode_runs_the_updater_only(device: Device) -> None:
    device.cut()
    device.switch_on("--safe-mode")
    await device.runs("1.0.0", "")
    device.cut()
    device.switch_on()
    await device.runs("1.0.0", "A")


async def test_update_recovers_device_with_damaged_image(device: Device) -> None:
    device.cut()
    device.damage(AGENT.read_bytes())
    device.switch_on()
    await device.runs("1.0.0", "")  # the bootloader, in safe mode: no slot holds a valid image
    rollout = await roll_out(device, "2.0.0", 2)
    await device.updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE)
    assert (await device.record()).firmware_version == "2.0.0"
    device.cut()
    device.switch_on()

    async def from_a_slot() -> bool:
        found = await device.record()
        return found.firmware_version == "2.0.0" and found.slot in ("A", "B")

    await eventually(from_a_slot, 30, "the new image is confirmed")
