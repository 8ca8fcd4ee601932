"""Settings of a service from the environment: frozen and validated at start, with all faults reported together.

Owns the settings that every service has. Only a service's `__main__` calls `load`.
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
    """Return a random id for a process without a configured one."""
    return secrets.token_hex(6)


class ServiceSettings(BaseSettings):
    """Settings that every service has. Subclasses set `env_prefix` and add their own."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    listen: Endpoint = Field(description="HOST:PORT of the gRPC server, port 0 for a free one.")
    identity: Path = Field(
        description="Identity directory with cert.pem, key.pem, services.pem and clients.pem; required."
    )
    nats_url: str = Field(
        "tls://127.0.0.1:4222",
        pattern=r"^tls://",
        description="URL of the NATS server, tls:// only; default tls://127.0.0.1:4222.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged: debug, info, warning or error; default info."
    )
    instance_id: InstanceId = Field(
        default_factory=new_instance_id,
        description="Id of this replica, 1 to 63 of a-z, 0-9 and -, not beginning with -; default random.",
    )
    drain_s: float = Field(
        5.0,
        ge=0,
        le=300,
        description="Maximum time to wait for calls in flight when stopping, in seconds, 0 to 300; default 5.",
    )


_Settings = TypeVar("_Settings", bound=BaseSettings)


def load(kind: type[_Settings]) -> _Settings:
    """Return the settings from the environment. Raises SettingsError with one line per fault, naming the variable."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    faults, cause = list(_misnamed(kind, prefix, os.environ)), None
    named = {fault.partition(":")[0] for fault in faults}
    try:
        found = kind()
        if not faults:
            return found
    except ValidationError as e:
        cause = e
        errors = ((f"{prefix}{'.'.join(map(str, f['loc'])).upper()}", f["msg"]) for f in e.errors())
        faults += [f"{name}: {why}" for name, why in errors if name not in named]
    raise SettingsError("; ".join(faults), hint="Set these variables and start again.") from cause


def _misnamed(kind: type[BaseSettings], prefix: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a fault for each variable with the service's prefix that is empty or no known setting."""
    names = {f"{prefix}{name}".upper(): field for name, field in kind.model_fields.items()}
    for variable in sorted(name for name in environ if name.upper().startswith(prefix.upper())):
        field = names.get(variable.upper())
        if field is None:
            near = difflib.get_close_matches(variable[len(prefix) :].lower(), kind.model_fields, 1)
            suggestion = f"; did you mean {prefix}{near[0].upper()}?" if near else ""
            yield f"{variable}: unknown setting{suggestion}"
        elif environ[variable] == "" and field.default != "":
            yield f"{variable}: empty; set a value or unset it"
