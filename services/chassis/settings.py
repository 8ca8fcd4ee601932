"""Settings of a service from the environment: frozen, validated at start, all faults told together.

Owns what every service has in common. Only a service's `__main__` calls `load`.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.errors import SettingsError

_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})\Z")


def _endpoint(value: str) -> str:
    match = _ENDPOINT.match(value)
    if not match or int(match[2]) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:50051")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]
InstanceId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


def new_instance_id() -> str:
    """A random id for a process that was given none."""
    return secrets.token_hex(6)


class ServiceSettings(BaseSettings):
    """What every service is told. Subclasses set `env_prefix` and add their own."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    listen: Endpoint = Field(description="Where the gRPC server listens; port 0 lets the kernel choose.")
    identity: Path = Field(description="Identity directory: cert.pem, key.pem, services.pem, clients.pem.")
    nats_url: str = Field("tls://127.0.0.1:4222", pattern=r"^tls://", description="NATS server, TLS only.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    instance_id: InstanceId = Field(default_factory=new_instance_id, description="Id of this replica.")
    drain_s: float = Field(5.0, ge=0, le=300, description="Longest wait for calls in flight when stopping, in seconds.")


_Settings = TypeVar("_Settings", bound=BaseSettings)


def load(kind: type[_Settings]) -> _Settings:
    """Reads the environment. Raises SettingsError with one line for each fault, naming the variable."""
    try:
        return kind()
    except ValidationError as e:
        prefix = str(kind.model_config.get("env_prefix", ""))
        faults = [f"{prefix}{'.'.join(map(str, f['loc'])).upper()}: {f['msg']}" for f in e.errors()]
        raise SettingsError("; ".join(faults), hint="Set these variables and start again.") from e
