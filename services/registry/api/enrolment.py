"""EnrolmentService: conversion of requests to use cases."""

from __future__ import annotations

from typing import Any

from services.chassis import codec
from services.chassis.rpc import caller, require_service, require_user
from services.registry.api.devices import view_to_proto
from services.registry.messages import token_to_proto
from services.registry.service.enrolment import Enrolment
from services.registry.service.renewal import Renewal
from yggdrasil.registry.v1 import enrolment_pb2 as pb
from yggdrasil.registry.v1 import enrolment_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["EnrolmentService"].full_name


class EnrolmentApi(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """The servicer. See enrolment.proto for each RPC and its errors."""

    def __init__(self, enrolment: Enrolment, renewal: Renewal) -> None:
        self._enrolment, self._renewal = enrolment, renewal

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        """See enrolment.proto."""
        require_user()
        secret, token = await self._enrolment.create(
            request.device_id, request.ttl_s, dict(request.labels), caller().uri
        )
        return pb.CreateTokenResponse(secret=secret, token=token_to_proto(token))

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """See enrolment.proto."""
        require_user()
        tokens = await self._enrolment.tokens_of(request.device_id)
        return pb.ListTokensResponse(tokens=[token_to_proto(token) for token in tokens])

    async def DeleteToken(self, request: pb.DeleteTokenRequest, context: Any) -> pb.DeleteTokenResponse:
        """See enrolment.proto."""
        require_user()
        await self._enrolment.delete(request.token_id)
        return pb.DeleteTokenResponse()

    async def RevokeCertificates(
        self, request: pb.RevokeCertificatesRequest, context: Any
    ) -> pb.RevokeCertificatesResponse:
        """See enrolment.proto."""
        require_user()
        view = await self._enrolment.revoke(request.device_id, request.revision)
        return pb.RevokeCertificatesResponse(device=view_to_proto(view))

    async def RenewCertificate(self, request: pb.RenewCertificateRequest, context: Any) -> pb.RenewCertificateResponse:
        """See enrolment.proto."""
        require_service("jotunheim_bridge")
        renewed = await self._renewal.renew(request.device_id, request.certificate, request.certificate_request)
        return pb.RenewCertificateResponse(
            certificate=renewed.certificate,
            issuer=renewed.issuer,
            expire_time=codec.timestamp(renewed.expire_time),
        )
