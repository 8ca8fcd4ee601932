"""Settings of a service from the environment: frozen, validated at start, all faults told together.

Owns what every service has in common. Only a service's `__main__` calls `load`.
"""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.errors import SettingsError
from services.domain import endpoints
from services.domain.errors import InvalidRequestError


def _endpoint(value: str) -> str:
    try:
        endpoints.split(value)
    except InvalidRequestError as e:
        raise ValueError(e.message) from None
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
    prefix = str(kind.model_config.get("env_prefix", ""))
    faults, cause = list(_misnamed(kind, prefix, os.environ)), None
    named = {fault.partition(":")[0] for fault in faults}
    try:
        found = kind()
        if not faults:
            return found
    except ValidationError as e:
        cause = e
        told = ((f"{prefix}{'.'.join(map(str, f['loc'])).upper()}", f["msg"]) for f in e.errors())
        faults += [f"{name}: {why}" for name, why in told if name not in named]
    raise SettingsError("; ".join(faults), hint="Set these variables and start again.") from cause


def _misnamed(kind: type[BaseSettings], prefix: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Variables with the service's prefix that are empty, or that name no setting."""
    names = {f"{prefix}{name}".upper(): field for name, field in kind.model_fields.items()}
    for variable in sorted(name for name in environ if name.upper().startswith(prefix.upper())):
        field = names.get(variable.upper())
        if field is None:
            near = difflib.get_close_matches(variable[len(prefix) :].lower(), kind.model_fields, 1)
            meant = f", {prefix}{near[0].upper()} is meant perhaps" if near else ""
            yield f"{variable}: there is no such setting{meant}"
        elif environ[variable] == "" and field.default != "":
            yield f"{variable}: is empty; give it a value or unset it"
