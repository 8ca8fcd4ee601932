"""The port Registry over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc.aio

from services.chassis import codec, status
from services.chassis.access import access_of
from services.chassis.errors import RemoteError
from services.domain.contract import Changes, Contract
from services.domain.errors import Code
from services.jotunheim_bridge.ports import Build, DeviceFacts, Issued, Targets
from yggdrasil.registry.v1 import enrolment_pb2, enrolment_pb2_grpc, registry_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2 as pb

TIMEOUT_S = 5.0
_PAGE = 500


@contextmanager
def convert_errors() -> Iterator[None]:
    """Convert gRPC errors of the registry."""
    try:
        yield
    except grpc.aio.AioRpcError as e:
        raise status.from_rpc(e, "the registry") from e


def facts_of(device: pb.Device | pb.StoredDevice) -> DeviceFacts:
    """Return the facts of a device that the bridge needs, from an RPC response or a stored record."""
    access = access_of(device)
    return DeviceFacts(access.state, dict(device.labels), access.revoked_unix_s)


class GrpcRegistry:
    """Every call has a deadline of TIMEOUT_S seconds and raises RemoteError with the registry's own code."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def device(self, device_id: str) -> DeviceFacts | None:
        """Return the facts of a device, or None if it is unknown."""
        try:
            with convert_errors():
                found = (await self._stub.GetDevice(pb.GetDeviceRequest(device_id=device_id), timeout=TIMEOUT_S)).device
        except RemoteError as e:
            if e.code is Code.NOT_FOUND:
                return None
            raise
        return facts_of(found)

    async def matching(self, targets: Targets) -> AsyncIterator[str]:
        """Yield ids of devices that match the targets' selector and requirements, ordered by id."""
        selector, token = targets.selector, ""
        while True:
            request = pb.ListDevicesRequest(page_size=_PAGE, page_token=token, selector=selector, has=targets.has)
            with convert_errors():
                page = await self._stub.ListDevices(request, timeout=TIMEOUT_S)
            for device in page.devices:
                yield device.id
            token = page.next_page_token
            if not token:
                return

    async def document(self, digest: str) -> bytes | None:
        """Return a capability document, or None."""
        try:
            with convert_errors():
                request = pb.GetCapabilityDocumentRequest(digest=digest)
                return (await self._stub.GetCapabilityDocument(request, timeout=TIMEOUT_S)).document
        except RemoteError as e:
            if e.code is Code.NOT_FOUND:
                return None
            raise

    async def record(self, contract: Contract, document: bytes, build: Build) -> tuple[Contract, Changes | None]:
        """Store an agreed contract; return it as stored and, for a new revision, its changes."""
        request = pb.RecordContractRequest(
            contract=codec.contract_to_proto(contract),
            document=document,
            model=build.model,
            device_class=build.device_class,
            firmware_version=build.firmware_version,
            slot=build.slot,
        )
        with convert_errors():
            answer = await self._stub.RecordContract(request, timeout=TIMEOUT_S)
        changes = codec.changes_from_proto(answer.changes) if answer.changed else None
        stored = answer.contract  # as sent, plus revision, digest and time
        made = codec.moment(stored.negotiate_time)
        return replace(contract, revision=stored.revision, digest=stored.digest, negotiate_time=made), changes

    async def online(self, after: str, limit: int) -> tuple[list[str], str]:
        """Return ids of online devices, ordered by id, and the token of the next page."""
        request = pb.ListDevicesRequest(page_size=limit, page_token=after, online=True)
        with convert_errors():
            answer = await self._stub.ListDevices(request, timeout=TIMEOUT_S)
        return [device.id for device in answer.devices], answer.next_page_token


class GrpcCertificates:
    """The port Certificates over gRPC, with a deadline of TIMEOUT_S seconds."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: enrolment_pb2_grpc.EnrolmentServiceAsyncStub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)

    async def renew(self, device_id: str, certificate: bytes, request: bytes) -> Issued:
        """See the port."""
        message = enrolment_pb2.RenewCertificateRequest(
            device_id=device_id, certificate=certificate, certificate_request=request
        )
        with convert_errors():
            answer = await self._stub.RenewCertificate(message, timeout=TIMEOUT_S)
        return Issued(answer.certificate, answer.issuer, answer.expire_time.seconds)
