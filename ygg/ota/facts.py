"""Describe and validate roots and manifests, as data and as text. The rules are in services.domain.trust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from services.domain import trust
from services.domain.trust import Role, Root
from ygg.ota import metadata
from ygg.ota.metadata import Found


def describe(found: Found, trusted_root: Root | None) -> dict[str, Any]:
    """Return the fields of a root or manifest; signatures are verified against the root `trusted_root` if given."""
    body = found.body
    data: dict[str, Any] = {"kind": found.role.name.lower()}
    if isinstance(body, Root):
        data |= {"version": body.version}
        for role in Role:
            held = metadata.holders(body, role)
            data[f"{role.name.lower()}_keys"] = [trust.key_id(key).hex() for key in held.keys]
            data[f"{role.name.lower()}_threshold"] = held.threshold
    else:
        data |= {
            "device_class": body.device_class,
            "version": body.version,
            "sequence": body.sequence,
            "security_counter": body.security_counter,
            "slot_size_bytes": body.slot_size_bytes,
            "image_size_bytes": body.image_size_bytes,
            "image_sha256": body.image_sha256.hex(),
            "chunk_size_bytes": body.chunk_size_bytes,
            "chunks": body.chunk_count,
            "chunks_root": body.chunks_root.hex(),
            "delta_from": body.delta.precursor_sha256.hex() if body.delta else "",
            "patch_size_bytes": body.delta.patch_size_bytes if body.delta else 0,
        }
    data["expires"] = datetime.fromtimestamp(body.expires_unix_s, UTC).isoformat(timespec="seconds")
    data["payload_sha256"] = trust.digest(found.envelope.payload).hex()
    data["signed_by"] = [s.key_id.hex() for s in found.envelope.signatures]
    if trusted_root:
        valid = metadata.valid_signers(trusted_root, found.role, found.envelope)
        data["good_signatures"] = valid
        data["enough"] = len(valid) >= trusted_root.role(found.role).threshold
    return data


def problems(found: Found, trusted_root: Root | None, now_unix_s: int) -> list[str]:
    """Return why a file is invalid at that time; verifies signatures against `trusted_root` if given."""
    problems = []
    body = found.body
    what = "root" if isinstance(body, Root) else "release"
    if now_unix_s >= body.expires_unix_s:
        problems.append(f"the {what} expired {now_unix_s - body.expires_unix_s} s ago")
    if trusted_root:
        valid, threshold = (
            metadata.valid_signers(trusted_root, found.role, found.envelope),
            trusted_root.role(found.role).threshold,
        )
        if len(valid) < threshold:
            problems.append(f"{len(valid)} valid signatures, a {what} needs {threshold}")
    return problems


def lines(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per field."""
    for name, value in data.items():
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        yield f"{name:<20} {_text(shown)}"


def _text(value: Any) -> Any:
    return ("yes" if value else "no") if isinstance(value, bool) else value
