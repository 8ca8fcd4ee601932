"""The RPCs of RegistryService about groups."""

from __future__ import annotations

from typing import Any

from services.registry.model import Group
from services.registry.service.groups import Groups
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc


def _to_proto(group: Group) -> pb.Group:
    selector = str(group.selector)
    return pb.Group(name=group.name, selector=selector, description=group.description, revision=group.revision)


class GroupRpcs(registry_pb2_grpc.RegistryServiceServicer):
    """See registry.proto for each RPC and its errors."""

    _groups: Groups

    async def SetGroup(self, request: pb.SetGroupRequest, context: Any) -> pb.SetGroupResponse:
        """See registry.proto."""
        requested = request.group
        group = await self._groups.put(requested.name, requested.selector, requested.description, requested.revision)
        return pb.SetGroupResponse(group=_to_proto(group))

    async def ListGroups(self, request: pb.ListGroupsRequest, context: Any) -> pb.ListGroupsResponse:
        """See registry.proto."""
        return pb.ListGroupsResponse(groups=[_to_proto(group) for group in await self._groups.all()])

    async def DeleteGroup(self, request: pb.DeleteGroupRequest, context: Any) -> pb.DeleteGroupResponse:
        """See registry.proto."""
        await self._groups.delete(request.name, request.revision)
        return pb.DeleteGroupResponse()
