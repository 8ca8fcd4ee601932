"""Settings of the bridge (YGG_BRIDGE_*)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.quota import MIN_STREAM_BYTES
from services.chassis.settings import Endpoint, ServiceSettings


class BridgeSettings(ServiceSettings):
    """Settings of the bridge (YGG_BRIDGE_*)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_BRIDGE_")

    listen: Endpoint = "127.0.0.1:50052"
    link_listen: Endpoint = Field("0.0.0.0:7443", description="HOST:PORT of the device link, port 0 for a free one.")
    link_advertise: str = Field(
        "",
        pattern=r"^$|^\S{1,58}:\d{1,5}$",
        max_length=63,
        description="HOST:PORT, at most 63 characters, that a restarting bridge sends its devices to; "
        "unset, this bridge takes over no devices.",
    )
    registry_endpoint: Endpoint = Field("127.0.0.1:50051", description="HOST:PORT of the registry.")
    ota_endpoint: Endpoint | None = Field(
        None, description="HOST:PORT of the OTA service; unset, devices are not updated."
    )
    policy: Path | None = Field(
        None, description="JSON file of capability policies; unset, every capability is allowed."
    )
    events_bytes: int | None = Field(
        None,
        ge=MIN_STREAM_BYTES,
        description="Size of the event stream in bytes, at least 4 MiB; unset, 40 % of the NATS store, at most 8 GiB.",
    )
    heartbeat_ms: int = Field(
        10_000,
        ge=100,
        le=600_000,
        description="Heartbeat interval of the device link in milliseconds, 100 to 600,000; a session ends after three "
        "silent ones.",
    )
    calls_in_flight: int = Field(16, ge=1, le=64, description="Maximum concurrent calls to one device, 1 to 64.")
    connections: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="Maximum device connections, 1 to 1,000,000, above which new ones are refused.",
    )
    arrivals: int = Field(
        64,
        ge=2,
        le=4096,
        description="Maximum concurrent TLS handshakes and negotiations, 2 to 4,096, above which new ones queue.",
    )
