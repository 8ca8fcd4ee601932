"""A mesh with ota, a root, and releases of random images."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness.mesh import Mesh
from bench.harness.process import free_ports
from services.chassis import channel, trust_codec
from services.domain import merkle
from services.domain.trust import Manifest, Role, RoleKeys, Root
from ygg.ota import keys, metadata
from yggdrasil.ota.v1 import ota_pb2, ota_pb2_grpc, relay_pb2_grpc, release_pb2, release_pb2_grpc, rollout_pb2_grpc

CLASS = "sim"
CHUNK = 2048
SLOT = 1_310_720
YEAR_S = 365 * 86_400


def start(mesh: Mesh) -> None:
    """Start nats-server, registry, ota, and a bridge with ota."""
    mesh.ports["ota"], images = free_ports(2)
    registry = f"127.0.0.1:{mesh.ports['registry']}"
    mesh.start_nats()
    mesh.start_service("registry", data_dir=str(mesh.folder / "registry"))
    mesh.start_service(
        "ota", data_dir=str(mesh.folder / "ota"), registry_endpoint=registry, images_listen=f"127.0.0.1:{images}"
    )
    ota = f"127.0.0.1:{mesh.ports['ota']}"
    mesh.start_service("jotunheim_bridge", registry_endpoint=registry, link_listen=mesh.link, ota_endpoint=ota)


@contextlib.contextmanager
def flash(count: int) -> Iterator[Path]:
    """Yield a folder for the flash of `count` devices, in memory if possible, since devices do not share a disk."""
    memory, needed = Path("/dev/shm"), count * 2 * SLOT * 2
    where = memory if memory.is_dir() and shutil.disk_usage(memory).free > needed else None
    folder = Path(tempfile.mkdtemp(prefix="ygg-bench-flash-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Fleet:
    """Clients of ota, and the keys."""

    images: Any
    releases: Any
    rollouts: Any
    relay: Any
    folder: Path
    sequence: int = 1
    stored: str = ""

    async def trust(self) -> Path:
        """Create a root with one key per role and set it; return its file for devices."""
        for name in ("root", "release"):
            keys.generate(self.folder / f"{name}.key")
        online = (await self.releases.GetTrust(release_pb2.GetTrustRequest())).timestamp_key
        public_keys = (
            keys.load_public(self.folder / "root.key"),
            keys.load_public(self.folder / "release.key"),
            online,
        )
        roles = [RoleKeys(1, (index,)) for index in range(3)]
        root = Root(1, int(time.time()) + YEAR_S, public_keys, *roles)
        path = self.folder / "1.root"
        signed = metadata.sign(Role.ROOT, metadata.unsigned(root), [keys.load(self.folder / "root.key")])
        metadata.write(path, Role.ROOT, signed)
        digest = hashlib.sha256(signed.payload).hexdigest()
        await self.releases.SetRoot(release_pb2.SetRootRequest(envelope=path.read_bytes(), bootstrap_sha256=digest))
        return path

    async def release(self, image: bytes) -> str:
        """Upload and release an image under the next sequence; return the release id.

        The previous image is deleted, so that no time is spent on a patch between two random images.
        """
        digest = hashlib.sha256(image)
        if self.stored:
            await self.images.DeleteImage(ota_pb2.DeleteImageRequest(sha256=self.stored), timeout=10)
        self.stored = digest.hexdigest()

        async def parts() -> AsyncIterator[ota_pb2.UploadImageRequest]:
            head = ota_pb2.ImageHeader(size_bytes=len(image), sha256=digest.hexdigest())
            yield ota_pb2.UploadImageRequest(header=head)
            for at in range(0, len(image), 256 * 1024):
                yield ota_pb2.UploadImageRequest(chunk=image[at : at + 256 * 1024])

        await self.images.UploadImage(parts(), timeout=60)
        self.sequence += 1
        manifest = Manifest(
            CLASS,
            f"{self.sequence}.0.0",
            self.sequence,
            1,
            SLOT,
            len(image),
            digest.digest(),
            CHUNK,
            merkle.Tree.of(image, CHUNK).root,
            int(time.time()) + YEAR_S,
        )
        signed = metadata.sign(Role.RELEASE, metadata.unsigned(manifest), [keys.load(self.folder / "release.key")])
        request = release_pb2.CreateReleaseRequest(envelope=trust_codec.envelope_bytes(signed))
        return str((await self.releases.CreateRelease(request, timeout=10)).release.id)


@contextlib.asynccontextmanager
async def clients(mesh: Mesh) -> AsyncIterator[Fleet]:
    """Yield clients of a user, and of a bridge for reports."""
    where = f"127.0.0.1:{mesh.ports['ota']}"
    async with (
        mesh.channel("ota") as user,
        channel.connect(where, mesh.pki.files("service", "jotunheim_bridge"), "ota") as bridge,
    ):
        yield Fleet(
            ota_pb2_grpc.OtaServiceStub(user),
            release_pb2_grpc.ReleaseServiceStub(user),
            rollout_pb2_grpc.RolloutServiceStub(user),
            relay_pb2_grpc.RelayServiceStub(bridge),
            mesh.folder,
        )


def image_of(size: int) -> bytes:
    """Return random, incompressible bytes."""
    return os.urandom(size)
