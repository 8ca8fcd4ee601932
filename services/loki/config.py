"""Settings of Loki, `YGG_LOKI_*`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import Endpoint, ServiceSettings


class LokiSettings(ServiceSettings):
    """Settings of Loki (YGG_LOKI_*)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_LOKI_")

    listen: Endpoint = "127.0.0.1:50053"
    registry_endpoint: Endpoint = Field("127.0.0.1:50051", description="HOST:PORT of the registry.")
    bridge_endpoint: Endpoint = Field("127.0.0.1:50052", description="HOST:PORT of the bridge.")
    data_dir: Path = Field(description="Folder for the compiled Scheme worker; it can be deleted at any time.")
    guile: str = Field("guile", description="The Guile 3 to run, a name on PATH or a path.")
    workers: int = Field(
        2, ge=1, le=64, description="Worker processes of each language, and concurrent computing runs, 1 to 64."
    )
    max_workers: int = Field(
        16,
        ge=1,
        le=256,
        description="Maximum worker processes of each language, 1 to 256; more than `WORKERS` while runs sleep or wait "
        "for devices.",
    )
    queue: int = Field(64, ge=0, le=10_000, description="Maximum queued runs of each language, 0 to 10,000.")
    queue_wait_s: float = Field(30.0, gt=0, le=300, description="Maximum wait for a worker in seconds, up to 300.")
    program_workers: int = Field(
        2, ge=1, le=64, description="Worker processes of each language that programs share, 1 to 64."
    )
