"""Connects to an S3 service: credentials from files, TLS with host name checks, conversion of errors."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import BotoCoreError, ClientError

from services.domain import text
from services.domain.ids import printable
from services.ota.errors import ImageNotFoundError, ObjectStoreError, ObjectStoreRefusedError

_NOT_FOUND = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchUpload"})
_REFUSED = frozenset(
    {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "InvalidBucketName"}
)


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Endpoint and credentials. `ca_file` None: the system's certificates."""

    endpoint_url: str
    bucket: str
    region: str
    access_key_file: Path
    secret_key_file: Path
    ca_file: Path | None = None


class _CheckingSession(AIOHTTPSession):  # type: ignore[misc]
    """Replaces aiobotocore's TLS context, which does not check host names (it is made for urllib3, which checks them).

    This one checks them, and accepts an intermediate CA as trust anchor, like the rest of the mesh.
    """

    def _get_ssl_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


@contextlib.contextmanager
def convert_errors(what: str, sha256: str = "") -> Iterator[None]:
    """Convert errors of the client; "no such key" becomes ImageNotFoundError of `sha256`."""
    try:
        yield
    except ClientError as e:
        code = str(e.response.get("Error", {}).get("Code", ""))
        if code in _NOT_FOUND:
            raise ImageNotFoundError(sha256) from e
        if code in _REFUSED:
            raise ObjectStoreRefusedError(
                f"the object store refuses {what}: {code}", hint="See the S3_* settings of ota.", s3_code=code
            ) from e
        raise ObjectStoreError(f"{what} failed: the object store returned {code}", s3_code=code) from e
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, ConnectionError) as e:
        why = str(getattr(e, "kwargs", {}).get("error") or "") or type(e).__name__
        raise ObjectStoreError(
            f"{what} failed: the object store does not answer ({printable(why, 200)})", hint="Try again in a moment."
        ) from e


@contextlib.asynccontextmanager
async def connect(settings: S3Settings) -> AsyncIterator[Any]:
    """Open an S3 client; nothing is sent yet. Raises ObjectStoreRefusedError if a key file cannot be used."""
    config = AioConfig(
        http_session_cls=_CheckingSession,
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "max_attempts": 3},
        # Not every S3 service supports the default checksums; images have their own digest.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = aioboto3.Session(
        aws_access_key_id=_secret(settings.access_key_file),
        aws_secret_access_key=_secret(settings.secret_key_file),
        region_name=settings.region,
    )
    verify = str(settings.ca_file) if settings.ca_file else True
    async with session.client("s3", endpoint_url=settings.endpoint_url, verify=verify, config=config) as client:
        yield client


async def ensure_bucket(client: Any, bucket: str) -> None:
    """Create the bucket if it does not exist; raises ObjectStoreRefusedError, ObjectStoreError."""
    try:
        with convert_errors(f"bucket {bucket}"):
            await client.head_bucket(Bucket=bucket)
    except ImageNotFoundError:
        with convert_errors(f"making bucket {bucket}"):
            await client.create_bucket(Bucket=bucket)


def _secret(path: Path) -> str:
    try:
        secret = text.decode(path.read_bytes(), path).strip()
    except (OSError, text.TextError) as e:
        raise ObjectStoreRefusedError(f"cannot read {path}: {e}", hint="See the S3_* settings of ota.") from e
    if not secret:
        raise ObjectStoreRefusedError(f"{path} is empty", hint="See the S3_* settings of ota.")
    return secret
