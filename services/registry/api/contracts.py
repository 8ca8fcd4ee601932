"""The RPCs of RegistryService about contracts and capability documents."""

from __future__ import annotations

import json
from typing import Any

from services.chassis import codec
from services.chassis.rpc import require_service
from services.registry.model import Build, ContractRecord
from services.registry.service.contracts import Contracts
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc


def _revision(record: ContractRecord) -> pb.ContractRevision:
    contract = record.contract
    return pb.ContractRevision(
        revision=contract.revision,
        digest=contract.digest,
        negotiate_time=codec.timestamp(contract.negotiate_time),
        firmware_version=record.build.firmware_version,
        policy=contract.policy,
    )


class ContractRpcs(registry_pb2_grpc.RegistryServiceServicer):
    """See registry.proto for each RPC and its errors."""

    _contracts: Contracts

    async def GetContract(self, request: pb.GetContractRequest, context: Any) -> pb.GetContractResponse:
        """See registry.proto."""
        contract = await self._contracts.contract(request.device_id, request.revision)
        return pb.GetContractResponse(contract=codec.contract_to_proto(contract))

    async def ListContracts(self, request: pb.ListContractsRequest, context: Any) -> pb.ListContractsResponse:
        """See registry.proto."""
        kept = await self._contracts.revisions(request.device_id)
        return pb.ListContractsResponse(revisions=[_revision(record) for record in reversed(kept)])

    async def CompareContracts(self, request: pb.CompareContractsRequest, context: Any) -> pb.CompareContractsResponse:
        """See registry.proto."""
        found = await self._contracts.compared(request.device_id, getattr(request, "from"), request.to)
        answer = pb.CompareContractsResponse(
            to=found.new.revision, changes=codec.changes_to_proto(found.changes), differences=found.differences
        )
        setattr(answer, "from", found.old.revision)
        return answer

    async def GetThingDescription(
        self, request: pb.GetThingDescriptionRequest, context: Any
    ) -> pb.GetThingDescriptionResponse:
        """See registry.proto."""
        found = await self._contracts.thing(request.device_id)
        return pb.GetThingDescriptionResponse(json=json.dumps(found, ensure_ascii=False))

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
