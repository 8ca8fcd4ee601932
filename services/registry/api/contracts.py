"""The RPCs of RegistryService about contracts and capability documents."""

from __future__ import annotations

from typing import Any

from services.chassis import codec
from services.chassis.rpc import require_service
from services.registry.model import Build
from services.registry.service.contracts import Contracts
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc


class ContractRpcs(registry_pb2_grpc.RegistryServiceServicer):
    """What each RPC does and how it fails stands in registry.proto."""

    _contracts: Contracts

    async def GetContract(self, request: pb.GetContractRequest, context: Any) -> pb.GetContractResponse:
        """See registry.proto."""
        contract = await self._contracts.contract(request.device_id)
        return pb.GetContractResponse(contract=codec.contract_to_proto(contract))

    async def GetCapabilityDocument(
        self, request: pb.GetCapabilityDocumentRequest, context: Any
    ) -> pb.GetCapabilityDocumentResponse:
        """See registry.proto."""
        return pb.GetCapabilityDocumentResponse(document=await self._contracts.document(request.digest))

    async def RecordContract(self, request: pb.RecordContractRequest, context: Any) -> pb.RecordContractResponse:
        """See registry.proto."""
        require_service("jotunheim_bridge")
        contract = codec.contract_from_proto(request.contract)
        build = Build(request.model, request.device_class, request.firmware_version, request.slot)
        stored, changes = await self._contracts.record(contract, request.document, build)
        return pb.RecordContractResponse(
            contract=codec.contract_to_proto(stored),
            changed=changes is not None,
            changes=codec.changes_to_proto(changes) if changes is not None else None,
        )
