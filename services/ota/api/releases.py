"""ReleaseService: converts messages to use cases."""

from __future__ import annotations

from typing import Any

from services.ota.api import codec
from services.ota.errors import RootNotFoundError
from services.ota.service.downloads import Downloads
from services.ota.service.releases import Releases, root_sha256
from yggdrasil.ota.v1 import release_pb2 as pb
from yggdrasil.ota.v1 import release_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["ReleaseService"].full_name


class ReleaseApi(release_pb2_grpc.ReleaseServiceServicer):
    """The servicer."""

    def __init__(self, releases: Releases, downloads: Downloads) -> None:
        self._releases, self._downloads = releases, downloads

    async def SetRoot(self, request: pb.SetRootRequest, context: Any) -> pb.SetRootResponse:
        """Set a root."""
        version = await self._releases.set_root(request.envelope, request.bootstrap_sha256.lower())
        return pb.SetRootResponse(version=version)

    async def GetTrust(self, request: pb.GetTrustRequest, context: Any) -> pb.GetTrustResponse:
        """Return the current root, or another version, and the timestamp key of the service."""
        version, envelope = self._releases.root_envelope(request.version)
        if request.version and not version:
            raise RootNotFoundError(request.version)
        return pb.GetTrustResponse(
            version=version,
            envelope=envelope,
            timestamp_key=self._releases.timestamp_key,
            timestamp_key_delegated=bool(version) and self._releases.delegated,
            root_sha256=root_sha256(envelope) if version else "",
        )

    async def CreateRelease(self, request: pb.CreateReleaseRequest, context: Any) -> pb.CreateReleaseResponse:
        """Create a release from a signed manifest."""
        return pb.CreateReleaseResponse(release=codec.release(await self._releases.create(request.envelope)))

    async def ListReleases(self, request: pb.ListReleasesRequest, context: Any) -> pb.ListReleasesResponse:
        """Return all releases."""
        found = self._releases.all(request.device_class)
        return pb.ListReleasesResponse(releases=[codec.release(each) for each in found])

    async def SetFloor(self, request: pb.SetFloorRequest, context: Any) -> pb.SetFloorResponse:
        """Raise a security floor."""
        floor = await self._releases.set_floor(request.device_class, request.security_counter)
        return pb.SetFloorResponse(security_counter=floor)

    async def CreateDownload(self, request: pb.CreateDownloadRequest, context: Any) -> pb.CreateDownloadResponse:
        """Create a download token."""
        token, found = await self._downloads.create(request.device_id, request.image_sha256)
        return pb.CreateDownloadResponse(
            path=f"/images/{token}",
            image_sha256=found.image_sha256,
            size_bytes=found.size_bytes,
            expire_time=codec.moment(found.expires_unix_s),
        )
