"""The registry's gRPC services: requests to use cases, and back. One module a kind of thing."""

from __future__ import annotations

from services.registry.api.contracts import ContractRpcs
from services.registry.api.devices import DeviceRpcs
from services.registry.service.contracts import Contracts
from services.registry.service.devices import Devices
from yggdrasil.registry.v1 import registry_pb2 as pb

NAME = pb.DESCRIPTOR.services_by_name["RegistryService"].full_name


class RegistryApi(DeviceRpcs, ContractRpcs):
    """RegistryService."""

    def __init__(self, devices: Devices, contracts: Contracts) -> None:
        self._devices, self._contracts = devices, contracts
