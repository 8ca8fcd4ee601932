"""Calls shared by the tests of the registry."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest

from services.chassis import status
from yggdrasil.common.v1 import capability_pb2, contract_pb2
from yggdrasil.registry.v1 import registry_pb2 as rp


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = status.error_info(caught.value)
    return caught.value.code(), info.reason if info else ""


async def failure(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str], str]:
    """Return code, reason, metadata and message of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = status.error_info(caught.value)
    assert info is not None
    return caught.value.code(), info.reason, dict(info.metadata), caught.value.details() or ""


async def record_contract(
    as_bridge: Any, device_id: str, *capabilities: capability_pb2.Capability
) -> rp.RecordContractResponse:
    """Record a contract of these capabilities as the bridge would."""
    document = capability_pb2.CapabilityDocument(capabilities=capabilities).SerializeToString(deterministic=True)
    contract = contract_pb2.Contract(
        device_id=device_id,
        document_digest=hashlib.sha256(document).hexdigest(),
        capabilities=capabilities,
        link=contract_pb2.LinkTerms(protocol=1, device_rx_frame_bytes=4096, device_tx_frame_bytes=4096),
    )
    answer: rp.RecordContractResponse
    answer = await as_bridge.RecordContract(rp.RecordContractRequest(contract=contract, document=document))
    return answer
