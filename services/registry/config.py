"""Settings of the registry, `YGG_REGISTRY_*`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import Endpoint, ServiceSettings


class RegistrySettings(ServiceSettings):
    """Settings of the registry (YGG_REGISTRY_*)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_REGISTRY_")

    listen: Endpoint = Field(
        "127.0.0.1:50051",
        description="HOST:PORT of the gRPC server, port 0 for a free one; default 127.0.0.1:50051.",
    )
    data_dir: Path = Field(
        description="Directory of the index, which can be deleted at any time and is rebuilt at start; required."
    )
    enrol_listen: Endpoint | None = Field(
        None,
        description="HOST:PORT of the enrolment of devices without a certificate; default unset: devices cannot enrol.",
    )
    enrol_advertise: Endpoint | None = Field(
        None,
        description="HOST:PORT in enrolment tokens, as devices reach it; default unset: enrol_listen as bound.",
    )
