"""Settings of the registry, `YGG_REGISTRY_*`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import Endpoint, ServiceSettings


class RegistrySettings(ServiceSettings):
    """What the registry is told at start."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_REGISTRY_")

    listen: Endpoint = "127.0.0.1:50051"
    data_dir: Path = Field(description="Folder of the index; it can be deleted at any time.")
    enrol_listen: Endpoint | None = Field(
        None, description="Where devices without a certificate enrol. None: they cannot."
    )
    enrol_advertise: Endpoint | None = Field(
        None, description="HOST:PORT that enrolment tokens tell devices. None: enrol_listen as bound."
    )
