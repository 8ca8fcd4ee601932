"""Rules of negotiation: from a Hello to Welcome or Refused, from a capability document to a contract.

Pure. docs/reference/protocol.md, "Negotiation". Every parameter becomes the minimum of both sides' limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from services.chassis import codec
from services.domain import capability as rules
from services.domain import ids
from services.domain.capability import Capability
from services.domain.contract import Contract, LinkTerms, Refusal, RefusalReason
from services.domain.errors import InvalidIdError, InvalidRequestError, MalformedCapabilityError
from services.jotunheim_bridge.errors import PROTOCOL, HelloRefusedError, LinkError
from services.jotunheim_bridge.model.policy import Policy
from yggdrasil.common.v1 import capability_pb2
from yggdrasil.device.v1 import link_pb2 as link

MAX_DOCUMENT_BYTES = 16 * 1024
EMPTY_DIGEST = hashlib.sha256(b"").digest()
"""Digest of the empty document of a device without capabilities."""
MIN_FRAME_BYTES = 256
MAX_FRAME_BYTES = 16 * 1024
MIN_RECORD_BYTES = 512
MAX_CALLS = 64
MAX_FEATURES = 8
SLOTS = ("", "A", "B")
_PAGE_OVERHEAD_BYTES = 32
WELCOME_BYTES = 125
CHOICE_BYTES = 10
"""A Welcome takes at most WELCOME_BYTES, plus CHOICE_BYTES and the name for each feature."""
FEATURES: Mapping[str, tuple[int, int]] = {
    "telemetry": (1, 1),
    "capability_update": (1, 1),
    "twin": (1, 1),
    "ota": (1, 1),
    "certificate": (1, 1),
}
"""Optional protocol features of this bridge, with minimum and maximum version."""


@dataclass(frozen=True, slots=True)
class BridgeLimits:
    """Limits of this bridge; sizes in bytes, times in milliseconds."""

    frame_bytes: int = MAX_FRAME_BYTES
    calls_in_flight: int = 16
    heartbeat_ms: int = 10_000
    connections: int = 20_000


def check_hello(hello: link.Hello, device_id: str) -> None:
    """Raise HelloRefusedError if the Hello is out of bounds or of another device than the certificate."""
    if hello.device_id != device_id:
        raise HelloRefusedError(
            link.REFUSED_CODE_IDENTITY,
            f"the certificate is of {device_id}, the Hello of {ids.printable(hello.device_id)}",
        )
    if not hello.protocol_min <= PROTOCOL <= hello.protocol_max:
        raise HelloRefusedError(link.REFUSED_CODE_PROTOCOL, f"this bridge speaks protocol {PROTOCOL}")
    for name, value, low, high in _bounds(hello):
        if not low <= value <= high:
            raise HelloRefusedError(link.REFUSED_CODE_MALFORMED, f"{name} is {value}, {low} to {high} are allowed")
    for name, text in _texts(hello):
        if len(text) > 31 or not text.isascii() or not (text.isprintable() or not text):
            raise HelloRefusedError(
                link.REFUSED_CODE_MALFORMED, f"{name} must be at most 31 printable ASCII characters"
            )
    if hello.firmware.slot not in SLOTS:
        raise HelloRefusedError(link.REFUSED_CODE_MALFORMED, "firmware.slot must be A, B or empty")
    _check_offers(hello.features)
    _check_welcome(hello)


def _check_offers(offers: Sequence[link.FeatureOffer]) -> None:
    seen: set[str] = set()
    for offer in offers:
        name = ids.printable(offer.name, 32)
        try:
            ids.member_id(offer.name)
        except InvalidIdError as e:
            raise HelloRefusedError(link.REFUSED_CODE_MALFORMED, f"{name!r} is not a valid feature name") from e
        if offer.name in seen:
            raise HelloRefusedError(link.REFUSED_CODE_MALFORMED, f"feature {name} is offered twice")
        if not 1 <= offer.min_version <= offer.max_version:
            versions = f"{offer.min_version} to {offer.max_version}"
            raise HelloRefusedError(link.REFUSED_CODE_MALFORMED, f"feature {name} is offered in versions {versions}")
        seen.add(offer.name)


def _bounds(hello: link.Hello) -> tuple[tuple[str, int, int, int], ...]:
    limits = hello.limits
    return (
        ("protocol_min", hello.protocol_min, 1, hello.protocol_max),
        ("boot_id", hello.boot_id, 1, 2**64 - 1),
        ("limits.rx_frame_bytes", limits.rx_frame_bytes, MIN_FRAME_BYTES, MAX_FRAME_BYTES),
        ("limits.tx_frame_bytes", limits.tx_frame_bytes, MIN_FRAME_BYTES, MAX_FRAME_BYTES),
        ("limits.rx_record_bytes", limits.rx_record_bytes, MIN_RECORD_BYTES, MAX_FRAME_BYTES),
        ("limits.calls_in_flight", limits.calls_in_flight, 1, MAX_CALLS),
        ("number of features", len(hello.features), 0, MAX_FEATURES),
        ("length of capabilities_digest", len(hello.capabilities_digest), 32, 32),
        ("capabilities_size_bytes", hello.capabilities_size_bytes, _least_size(hello), MAX_DOCUMENT_BYTES),
    )


def _least_size(stated: link.Hello | link.CapabilityUpdate) -> int:
    """Return the minimum document size: 0 without capabilities, else 1."""
    return 0 if stated.capabilities_digest == EMPTY_DIGEST else 1


def _texts(hello: link.Hello) -> tuple[tuple[str, str], ...]:
    return (
        ("hardware.model", hello.hardware.model),
        ("hardware.device_class", hello.hardware.device_class),
        ("firmware.version", hello.firmware.version),
    )


def choose_features(hello: link.Hello, features: Mapping[str, tuple[int, int]] = FEATURES) -> list[link.FeatureChoice]:
    """Return the greatest common version of each offer, 0 if refused; HelloRefusedError for a required one."""
    choices = []
    for offer in hello.features:
        low, high = features.get(offer.name, (1, 0))
        version = min(high, offer.max_version)
        if version < max(low, offer.min_version):
            version = 0
        if offer.required and not version:
            have = f"versions {low} to {high}" if high else "none"
            raise HelloRefusedError(
                link.REFUSED_CODE_FEATURE,
                f"feature {ids.printable(offer.name, 32)} is required, this bridge has {have}",
            )
        choices.append(link.FeatureChoice(name=offer.name, version=version))
    return choices


def agreed_features(choices: Sequence[link.FeatureChoice]) -> frozenset[str]:
    """Return the names of the accepted features."""
    return frozenset(choice.name for choice in choices if choice.version)


def terms(hello: link.Hello, ours: BridgeLimits) -> LinkTerms:
    """Return the link terms; equal devices share the object."""
    return _terms(
        min(hello.limits.rx_frame_bytes, ours.frame_bytes),
        min(hello.limits.tx_frame_bytes, ours.frame_bytes),
        min(hello.limits.calls_in_flight, ours.calls_in_flight),
        ours.heartbeat_ms,
    )


@lru_cache(maxsize=256)
def _terms(rx_frame_bytes: int, tx_frame_bytes: int, calls_in_flight: int, heartbeat_ms: int) -> LinkTerms:
    return LinkTerms(PROTOCOL, rx_frame_bytes, tx_frame_bytes, calls_in_flight, heartbeat_ms)


def _check_welcome(hello: link.Hello) -> None:
    """Check against the largest Welcome, so that admission does not depend on the sequence or time in it."""
    size = WELCOME_BYTES + sum(CHOICE_BYTES + len(offer.name) for offer in hello.features)
    limit = hello.limits.rx_frame_bytes
    if size > limit:
        raise HelloRefusedError(
            link.REFUSED_CODE_MALFORMED, f"Welcome may take {size} bytes, limits.rx_frame_bytes allows {limit}"
        )


def page_bytes(agreed: LinkTerms) -> int:
    """Return the largest CapabilityPage.data that fits a frame of the device."""
    return agreed.device_tx_frame_bytes - _PAGE_OVERHEAD_BYTES


def check_update(update: link.CapabilityUpdate) -> None:
    """Raise LinkError if a CapabilityUpdate is out of bounds."""
    size, least = update.capabilities_size_bytes, _least_size(update)
    if len(update.capabilities_digest) != 32 or not least <= size <= MAX_DOCUMENT_BYTES:
        raise LinkError(
            link.GOODBYE_CODE_PROTOCOL_ERROR,
            f"an update of {size} bytes with a digest of {len(update.capabilities_digest)}; "
            f"{least} to {MAX_DOCUMENT_BYTES} with 32 are allowed",
        )


def check_document(document: bytes, digest: bytes) -> None:
    """Raise HelloRefusedError if the document does not match its digest."""
    if hashlib.sha256(document).digest() != digest:
        raise HelloRefusedError(link.REFUSED_CODE_CAPABILITIES, "the capability pages do not match their digest")


@dataclass(frozen=True, slots=True)
class Agreement:
    """A contract, the document position of each accepted capability, and the positions of the refused ones."""

    contract: Contract
    positions: dict[str, int]
    refused_positions: tuple[int, ...]


def agree(device_id: str, document: bytes, policy: Policy, link_terms: LinkTerms) -> Agreement:
    """Return the contract for a document and a policy; the registry adds revision and digest.

    Raises HelloRefusedError if the document cannot be parsed.
    """
    try:
        offered = capability_pb2.CapabilityDocument.FromString(document).capabilities
    except DecodeError as e:
        raise HelloRefusedError(link.REFUSED_CODE_CAPABILITIES, "the capability document is malformed") from e
    if len(offered) > rules.MAX_CAPABILITIES:
        raise HelloRefusedError(
            link.REFUSED_CODE_CAPABILITIES, f"{len(offered)} capabilities, at most {rules.MAX_CAPABILITIES} are allowed"
        )
    accepted: dict[str, Capability] = {}
    positions: dict[str, int] = {}
    refused: list[tuple[int, Refusal]] = []
    for position, message in enumerate(offered):
        answer = _consider(message, accepted, policy)
        if isinstance(answer, Refusal):
            refused.append((position, answer))
        else:
            accepted[answer.id], positions[answer.id] = answer, position
    contract = Contract(
        device_id=device_id,
        document_digest=hashlib.sha256(document).hexdigest(),
        capabilities=tuple(accepted.values()),
        refused=tuple(refusal for _, refusal in refused),
        link=link_terms,
        policy=policy.name,
    )
    return Agreement(contract, positions, tuple(position for position, _ in refused))


def _consider(
    message: capability_pb2.Capability, accepted: dict[str, Capability], policy: Policy
) -> Capability | Refusal:
    try:
        capability = codec.capability_from_proto(message)
        rules.check(capability)
    except (InvalidIdError, InvalidRequestError, MalformedCapabilityError) as e:
        return _refusal(message, RefusalReason.MALFORMED, e.message)
    if capability.id in accepted:
        return _refusal(message, RefusalReason.DUPLICATE, f"there is another capability {capability.id}")
    why = policy.refusal(capability.type)
    return _refusal(message, RefusalReason.POLICY, why) if why else capability


def _refusal(message: capability_pb2.Capability, reason: RefusalReason, why: str) -> Refusal:
    return Refusal(
        ids.printable(message.id, 32), ids.printable(message.type, 63), message.version, reason, ids.printable(why, 63)
    )
