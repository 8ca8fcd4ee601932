"""Conversion between the registry's model and the records in the buckets, which carry a schema version."""

from __future__ import annotations

import hashlib

from services.chassis import codec
from services.domain.contract import Contract
from services.registry.model import (
    Build,
    CapabilityRef,
    ContractRecord,
    DeviceRecord,
    DeviceState,
    DeviceView,
    Presence,
)
from yggdrasil.common.v1 import contract_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2
from yggdrasil.registry.v1 import registry_pb2 as pb

SCHEMA = 1


def device_to_bytes(record: DeviceRecord) -> bytes:
    """Return the StoredDevice."""
    return pb.StoredDevice(
        schema=SCHEMA,
        id=record.id,
        state=pb.DeviceState.Value(f"DEVICE_STATE_{record.state.name}"),
        labels=record.labels,
        create_time=codec.timestamp(record.create_time),
        revoke_time=codec.timestamp(record.revoke_time),
    ).SerializeToString(deterministic=True)


def device_from_bytes(data: bytes, revision: int) -> DeviceRecord:
    """Return the record of a StoredDevice."""
    stored = pb.StoredDevice.FromString(data)
    create_time = codec.moment(stored.create_time)
    revoked = codec.moment(stored.revoke_time) if stored.HasField("revoke_time") else None
    return DeviceRecord(stored.id, _state(stored.state), create_time, dict(stored.labels), revision, revoked)


def body_to_bytes(contract: Contract) -> bytes:
    """Return the StoredContractBody, the part that many devices share."""
    return pb.StoredContractBody(
        schema=SCHEMA,
        capabilities=[codec.capability_to_proto(c) for c in contract.capabilities],
        refused=[codec.refusal_to_proto(r) for r in contract.refused],
    ).SerializeToString(deterministic=True)


def body_digest(body: bytes) -> str:
    """Return the key of a body: SHA-256, lower-case hex."""
    return hashlib.sha256(body).hexdigest()


def contract_to_bytes(record: ContractRecord) -> bytes:
    """Return the StoredContract, the part of one device."""
    contract, build = record.contract, record.build
    return pb.StoredContract(
        schema=SCHEMA,
        device_id=contract.device_id,
        revision=contract.revision,
        digest=contract.digest,
        document_digest=contract.document_digest,
        link=codec.terms_to_proto(contract.link),
        negotiate_time=codec.timestamp(contract.negotiate_time),
        policy=contract.policy,
        model=build.model,
        device_class=build.device_class,
        firmware_version=build.firmware_version,
        slot=build.slot,
    ).SerializeToString(deterministic=True)


def contract_from_bytes(data: bytes, body: bytes, key_revision: int) -> ContractRecord:
    """Return the record of a StoredContract and its StoredContractBody."""
    stored, shared = pb.StoredContract.FromString(data), pb.StoredContractBody.FromString(body)
    message = contract_pb2.Contract(
        device_id=stored.device_id,
        revision=stored.revision,
        digest=stored.digest,
        document_digest=stored.document_digest,
        capabilities=shared.capabilities,
        refused=shared.refused,
        link=stored.link,
        negotiate_time=stored.negotiate_time,
        policy=stored.policy,
    )
    return ContractRecord(codec.contract_from_proto(message), build_of(stored), key_revision)


def build_of(stored: pb.StoredContract) -> Build:
    """Return the device's own description."""
    return Build(stored.model, stored.device_class, stored.firmware_version, stored.slot)


def presence_to_proto(session: bridge_pb2.Session) -> pb.Presence:
    """Return the message Presence of a session."""
    return pb.Presence(
        online=session.online,
        since=session.connect_time if session.online else session.disconnect_time,
        session_id=session.session_id,
        bridge_id=session.bridge_id,
        negotiation_ms=session.negotiation_ms,
    )


def view_of(message: pb.Device) -> DeviceView:
    """Return the view of a message Device."""
    presence = message.presence
    return DeviceView(
        record=DeviceRecord(
            id=message.id,
            state=_state(message.state),
            create_time=codec.moment(message.create_time),
            labels=dict(message.labels),
            revision=message.revision,
            revoke_time=codec.moment(message.revoke_time) if message.HasField("revoke_time") else None,
        ),
        build=Build(message.model, message.device_class, message.firmware_version, message.slot),
        presence=Presence(
            presence.online,
            codec.moment(presence.since) if presence.HasField("since") else None,
            presence.session_id,
            presence.bridge_id,
            presence.negotiation_ms,
        ),
        contract_revision=message.contract_revision,
        capabilities=tuple(CapabilityRef(c.id, c.type, c.version) for c in message.capabilities),
        certificate_expire_time=(
            codec.moment(message.certificate_expire_time) if message.HasField("certificate_expire_time") else None
        ),
    )


def _state(number: pb.DeviceState.ValueType) -> DeviceState:
    return DeviceState[pb.DeviceState.Name(number).removeprefix("DEVICE_STATE_")]
