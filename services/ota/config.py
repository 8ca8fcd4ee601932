"""Settings of ota, `YGG_OTA_*`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from services.chassis.quota import MIN_STREAM_BYTES
from services.chassis.settings import Endpoint, ServiceSettings
from services.ota.model import MAX_IMAGE_BYTES

_GIB = 1024**3


class OtaSettings(ServiceSettings):
    """Settings of the OTA service (YGG_OTA_*). S3_* apply only if OBJECT_STORE is s3."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_OTA_")

    listen: Endpoint = "127.0.0.1:50054"
    registry_endpoint: Endpoint = Field("127.0.0.1:50051", description="HOST:PORT of the registry.")
    images_listen: Endpoint = Field(
        "127.0.0.1:7444", description="HOST:PORT of the HTTPS server that serves images to devices with a token."
    )
    timestamp_key: Path | None = Field(
        None,
        description="The service's one signing key, PEM, created if missing; default `timestamp.key` in the data "
        "folder. All replicas have the same. Keep it: without it the root must name a new one.",
    )
    data_dir: Path = Field(
        description="Folder of the key and of the image cache; the cache can be deleted while ota is stopped."
    )
    cache_bytes: int = Field(_GIB, ge=MAX_IMAGE_BYTES, description="Maximum size of the image cache in bytes.")
    uploads_at_once: int = Field(8, ge=1, le=1000, description="Maximum concurrent uploads, above which others wait.")
    upload_parts: int = Field(
        2048,
        ge=256,
        description="Maximum stored parts of 256 KiB of unfinished uploads, above which more are refused; "
        "in NATS with either object store.",
    )
    upload_age_s: float = Field(86400, ge=60, description="Age in seconds up to which an unfinished upload can resume.")
    object_store: Literal["nats", "s3"] = Field("nats", description="`nats` (JetStream Object Store) or `s3`.")
    images_bytes: int | None = Field(
        None, ge=MAX_IMAGE_BYTES, description="Maximum size of all images in NATS, bytes; default 30 % of its store."
    )
    events_bytes: int | None = Field(
        None,
        ge=MIN_STREAM_BYTES,
        description="Size of the stream of rollout events, bytes; default 5 % of the NATS store, at most 1 GiB.",
    )
    nats_replicas: int = Field(1, ge=1, le=5, description="Copies of the images that a NATS cluster keeps, 1 to 5.")
    s3_allow_plain_http: bool = Field(False, description="Allows http:// to other hosts than this one.")
    s3_endpoint_url: str | None = Field(
        None, validate_default=True, description="https://HOST:PORT of the S3 server; http:// on this host."
    )
    s3_bucket: str = Field("ygg-images", pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", description="S3 bucket.")
    s3_region: str = Field("us-east-1", description="S3 region.")
    s3_access_key_file: Path | None = Field(None, validate_default=True, description="File with the access key id.")
    s3_secret_key_file: Path | None = Field(None, validate_default=True, description="File with the secret key.")
    s3_ca_file: Path | None = Field(None, description="CA certificates to trust instead of the machine's, PEM.")

    @field_validator("s3_endpoint_url", "s3_access_key_file", "s3_secret_key_file")
    @classmethod
    def _needed_for_s3(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("object_store") == "s3":
            raise ValueError("is required if OBJECT_STORE is s3")
        return value

    @field_validator("s3_endpoint_url")
    @classmethod
    def _safe_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        if url.scheme not in ("https", "http") or not url.hostname or url.username or url.query or url.fragment:
            raise ValueError("must be https://HOST:PORT")
        if url.scheme == "http" and not (_is_loopback(url.hostname) or info.data.get("s3_allow_plain_http")):
            raise ValueError(
                "must be https://, or set S3_ALLOW_PLAIN_HTTP=true: images and credentials would be unprotected"
            )
        return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
