"""The registry's gRPC services: conversion of requests to use cases. One module per kind of object."""

from __future__ import annotations

from dataclasses import dataclass

from services.registry.api.contracts import ContractRpcs
from services.registry.api.devices import DeviceRpcs
from services.registry.api.finding import FindingRpcs
from services.registry.api.groups import GroupRpcs
from services.registry.service.contracts import Contracts
from services.registry.service.devices import Devices
from services.registry.service.finding import Finding
from services.registry.service.groups import Groups
from services.registry.service.registration import Registration
from services.registry.service.removal import Removal
from services.registry.service.watching import Watching
from yggdrasil.registry.v1 import registry_pb2 as pb

NAME = pb.DESCRIPTOR.services_by_name["RegistryService"].full_name


@dataclass(frozen=True, slots=True)
class UseCases:
    """Use cases of RegistryService."""

    devices: Devices
    registration: Registration
    finding: Finding
    watching: Watching
    groups: Groups
    contracts: Contracts
    removal: Removal


class RegistryApi(DeviceRpcs, FindingRpcs, GroupRpcs, ContractRpcs):
    """RegistryService."""

    def __init__(self, use: UseCases) -> None:
        self._devices, self._registration, self._contracts = use.devices, use.registration, use.contracts
        self._finding, self._watching, self._groups = use.finding, use.watching, use.groups
        self._removal = use.removal
