"""The RPCs of RegistryService that find devices: ListDevices and FindDevices. Bounds of the fields are checked here."""

from __future__ import annotations

from typing import Any

from services.chassis.requirements_codec import clause_to_proto, requirements
from services.domain import ids
from services.domain.errors import InvalidIdError, InvalidRequestError
from services.domain.selectors import parse_selector
from services.registry.api.devices import state_of
from services.registry.errors import PageTokenError
from services.registry.ports import Query
from services.registry.service.finding import Explanation, Finding, ScopedQuery
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc

DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_EXPLAINED = 100


def scoped_query(request: pb.ListDevicesRequest | pb.FindDevicesRequest) -> ScopedQuery:
    """Return the query of a request; raises InvalidRequestError, InvalidIdError or PageTokenError."""
    if not 0 <= request.page_size <= MAX_PAGE:
        raise InvalidRequestError(f"page_size is {request.page_size}, 0 to {MAX_PAGE} are allowed", field="page_size")
    structured = request.requirements if isinstance(request, pb.FindDevicesRequest) else ()
    states = request.states if isinstance(request, pb.ListDevicesRequest) else ()
    try:
        after = ids.device_id(request.page_token) if request.page_token else ""
    except InvalidIdError as e:
        raise PageTokenError from e
    query = Query(
        after=after,
        limit=request.page_size or DEFAULT_PAGE,
        selector=parse_selector(request.selector),
        has=requirements(structured, request.has),
        online=request.online if request.HasField("online") else None,
        states=frozenset(state for number in states if (state := state_of(number, "states")) is not None),
        expires_before_unix_s=_expires_before(request),
    )
    if request.group:
        ids.group_name(request.group)
    return ScopedQuery(query, request.group, request.at_least_revision)


def _expires_before(request: pb.ListDevicesRequest | pb.FindDevicesRequest) -> float | None:
    if isinstance(request, pb.ListDevicesRequest) and request.HasField("certificate_expires_before"):
        return float(request.certificate_expires_before.seconds)
    return None


def _explanation(found: Explanation) -> pb.Explanation:
    return pb.Explanation(
        device_id=found.device_id,
        matches=not found.failed,
        failed=[clause_to_proto(clause) for clause in found.failed],
        capability_ids=found.capability_ids,
    )


class FindingRpcs(registry_pb2_grpc.RegistryServiceServicer):
    """See registry.proto for each RPC and its errors."""

    _finding: Finding

    async def ListDevices(self, request: pb.ListDevicesRequest, context: Any) -> pb.ListDevicesResponse:
        """See registry.proto."""
        page, token = await self._finding.page(await self._finding.resolve(scoped_query(request)))
        return pb.ListDevicesResponse(devices=page, next_page_token=token)

    async def FindDevices(self, request: pb.FindDevicesRequest, context: Any) -> pb.FindDevicesResponse:
        """See registry.proto."""
        if len(request.explain) > MAX_EXPLAINED:
            raise InvalidRequestError(
                f"{len(request.explain)} devices to explain, at most {MAX_EXPLAINED} are allowed", field="explain"
            )
        query = await self._finding.resolve(scoped_query(request))
        page, token = await self._finding.page(query)
        explained = await self._finding.explain(query, request.explain)
        return pb.FindDevicesResponse(
            devices=page, next_page_token=token, explanations=[_explanation(found) for found in explained]
        )
