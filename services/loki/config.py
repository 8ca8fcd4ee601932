"""Settings of Loki, `YGG_LOKI_*`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import Endpoint, ServiceSettings


class LokiSettings(ServiceSettings):
    """What Loki is told at start."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_LOKI_")

    listen: Endpoint = "127.0.0.1:50053"
    registry_endpoint: Endpoint = Field("127.0.0.1:50051", description="HOST:PORT of the registry.")
    bridge_endpoint: Endpoint = Field("127.0.0.1:50052", description="HOST:PORT of the bridge.")
    data_dir: Path = Field(description="Folder for the compiled Scheme worker; it can be deleted at any time.")
    guile: str = Field("guile", description="The Guile 3 to run, a name on PATH or a path.")
    workers: int = Field(2, ge=1, le=64, description="Runs of each language that compute at the same time.")
    max_workers: int = Field(
        16, ge=1, le=256, description="Worker processes of each language at most; more than `workers` while runs wait."
    )
    queue: int = Field(64, ge=0, le=10_000, description="Runs of each language that may wait for a worker.")
    queue_wait_s: float = Field(30.0, gt=0, le=300, description="Longest wait for a worker, in seconds.")
    program_workers: int = Field(2, ge=1, le=64, description="Processes of each language that programs share.")
