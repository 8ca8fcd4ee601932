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
    """What ota is told at start. The settings S3_* count where OBJECT_STORE is s3."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_OTA_")

    listen: Endpoint = "127.0.0.1:50054"
    registry_endpoint: Endpoint = "127.0.0.1:50051"
    images_listen: Endpoint = Field("127.0.0.1:7444", description="Where devices fetch images, HTTPS.")
    timestamp_key: Path | None = Field(None, description="Timestamp key, PEM; all replicas have the same one.")
    data_dir: Path = Field(description="Folder of the image cache; it can be deleted while ota is not running.")
    cache_bytes: int = Field(_GIB, ge=MAX_IMAGE_BYTES, description="Most bytes of the image cache.")
    uploads_at_once: int = Field(8, ge=1, le=1000, description="Uploads written at a time; others wait.")
    upload_parts: int = Field(2048, ge=256, description="Parts of 256 KiB of unfinished uploads that are kept.")
    upload_age_s: float = Field(86400, ge=60, description="For how long an unfinished upload can be resumed.")
    object_store: Literal["nats", "s3"] = "nats"
    images_bytes: int | None = Field(
        None, ge=MAX_IMAGE_BYTES, description="What all images in NATS may take. None: 30% of the store of NATS."
    )
    events_bytes: int | None = Field(
        None, ge=MIN_STREAM_BYTES, description="Size of the stream of rollouts' events. None: 5% of it, at most 1 GiB."
    )
    nats_replicas: int = Field(1, ge=1, le=5, description="Copies that a NATS cluster keeps of the images.")
    s3_allow_plain_http: bool = Field(False, description="Allows http:// to other hosts than this one.")
    s3_endpoint_url: str | None = Field(None, validate_default=True, description="https://HOST:PORT")
    s3_bucket: str = Field("ygg-images", pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
    s3_region: str = "us-east-1"
    s3_access_key_file: Path | None = Field(None, validate_default=True, description="File with the access key id.")
    s3_secret_key_file: Path | None = Field(None, validate_default=True, description="File with the secret key.")
    s3_ca_file: Path | None = Field(None, description="CA certificates to trust instead of the machine's, PEM.")

    @field_validator("s3_endpoint_url", "s3_access_key_file", "s3_secret_key_file")
    @classmethod
    def _needed_for_s3(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("object_store") == "s3":
            raise ValueError("is needed where OBJECT_STORE is s3")
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
            raise ValueError("must be https://, or set S3_ALLOW_PLAIN_HTTP=true: images and signatures go unprotected")
        return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
