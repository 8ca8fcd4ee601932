"""Settings of the bridge, `YGG_BRIDGE_*`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.room import MIN_STREAM_BYTES
from services.chassis.settings import Endpoint, ServiceSettings


class BridgeSettings(ServiceSettings):
    """What the bridge is told at start."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_BRIDGE_")

    listen: Endpoint = "127.0.0.1:50052"
    link_listen: Endpoint = Field("0.0.0.0:7443", description="Where devices connect.")
    link_advertise: str = Field(
        "",
        pattern=r"^$|^\S{1,58}:\d{1,5}$",
        max_length=63,
        description="HOST:PORT where devices of a bridge that restarts may come instead. Empty: nobody is sent here.",
    )
    registry_endpoint: Endpoint = "127.0.0.1:50051"
    ota_endpoint: Endpoint | None = Field(None, description="HOST:PORT of ota. None: devices are not updated.")
    policy: Path | None = Field(None, description="JSON file: what devices may offer. None allows everything.")
    events_bytes: int | None = Field(
        None,
        ge=MIN_STREAM_BYTES,
        description="Size of the event stream. None: 40% of NATS's store, at most 8 GiB.",
    )
    heartbeat_ms: int = Field(10_000, ge=100, le=600_000, description="Longest silence of a device, in ms.")
    calls_in_flight: int = Field(16, ge=1, le=64, description="Most calls waiting for one device at once.")
    connections: int = Field(
        20_000, ge=1, le=1_000_000, description="Most device connections at once; one more is turned away."
    )
    arrivals: int = Field(
        64, ge=2, le=4096, description="Most connections between ClientHello and contract; more of them wait."
    )
