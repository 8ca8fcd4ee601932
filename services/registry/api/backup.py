"""BackupService: conversion between records and messages, with checks, because a backup is untrusted input."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from services.chassis import codec
from services.chassis.rpc import require_user
from services.domain import capability, ids
from services.domain.errors import InvalidRequestError, YggError
from services.domain.selectors import parse_selector
from services.registry.service.backup import Backups, RecordKind, StoredRecord
from yggdrasil.common.v1 import contract_pb2
from yggdrasil.registry.v1 import backup_pb2 as pb
from yggdrasil.registry.v1 import backup_pb2_grpc, registry_pb2, twin_pb2

NAME = pb.DESCRIPTOR.services_by_name["BackupService"].full_name
MAX_RECORDS = 1000
"""Maximum records of a message."""
MAX_BYTES = 16 * 1024
MAX_DESCRIPTION = 200
SCHEMA = 1
_FIELDS = {
    RecordKind.CONTRACT_BODY: "contract_body",
    RecordKind.TWIN_DESIRED: "twin_desired",
    RecordKind.TWIN_REPORTED: "twin_reported",
    RecordKind.GROUP: "group",
    RecordKind.CONTRACT: "contract",
    RecordKind.DEVICE: "device",
}


def record_to_proto(kept: StoredRecord) -> pb.BackupRecord:
    """Return the message of a record."""
    record = pb.BackupRecord()
    if kept.kind is RecordKind.DOCUMENT:
        record.document.digest, record.document.document = kept.key, kept.data
    else:
        getattr(record, _FIELDS[kept.kind]).ParseFromString(kept.data)
    return record


def record_from_proto(record: pb.BackupRecord) -> StoredRecord:
    """Return the record; raises InvalidRequestError or InvalidIdError unless the registry could have created it."""
    name = record.WhichOneof("record")
    if name is None:
        raise InvalidRequestError("it is empty, or of a kind unknown to this version")
    message = getattr(record, name)
    if getattr(message, "schema", SCHEMA) != SCHEMA:
        raise InvalidRequestError(
            f"it has schema {message.schema}, this version requires {SCHEMA}", hint="Restore with a later version."
        )
    return _READERS[name](message)


def _document(message: pb.StoredDocument) -> StoredRecord:
    if hashlib.sha256(message.document).hexdigest() != message.digest or len(message.document) > MAX_BYTES:
        raise InvalidRequestError("the document is larger than 16 KiB, or its SHA-256 is not its digest")
    return StoredRecord(RecordKind.DOCUMENT, message.digest, message.document)


def _body(message: registry_pb2.StoredContractBody) -> StoredRecord:
    found = codec.contract_from_proto(contract_pb2.Contract(capabilities=message.capabilities, refused=message.refused))
    for one in found.capabilities:
        capability.check(one)
    data = message.SerializeToString(deterministic=True)
    return StoredRecord(RecordKind.CONTRACT_BODY, hashlib.sha256(data).hexdigest(), data)


def _device(message: registry_pb2.StoredDevice) -> StoredRecord:
    ids.labels(message.labels)
    if message.state not in registry_pb2.DeviceState.values() or not message.state:
        raise InvalidRequestError(f"state {message.state} is unknown to this version")
    if not message.HasField("create_time"):
        raise InvalidRequestError("it has no create_time")
    return StoredRecord(RecordKind.DEVICE, ids.device_id(message.id), message.SerializeToString(deterministic=True))


def _contract(message: registry_pb2.StoredContract) -> StoredRecord:
    if not message.revision:
        raise InvalidRequestError("it has no revision")
    needs = (
        (RecordKind.CONTRACT_BODY, ids.digest(message.digest)),
        (RecordKind.DOCUMENT, ids.digest(message.document_digest)),
    )
    key, data = ids.device_id(message.device_id), message.SerializeToString(deterministic=True)
    return StoredRecord(RecordKind.CONTRACT, key, data, message.revision, needs)


def _group(message: registry_pb2.StoredGroup) -> StoredRecord:
    parse_selector(message.selector)
    if not message.selector.strip() or len(message.description) > MAX_DESCRIPTION:
        raise InvalidRequestError(f"it has no selector, or a description of more than {MAX_DESCRIPTION} characters")
    return StoredRecord(RecordKind.GROUP, ids.device_id(message.name), message.SerializeToString(deterministic=True))


def _twin(kind: RecordKind) -> Callable[[twin_pb2.StoredTwin], StoredRecord]:
    def reader(message: twin_pb2.StoredTwin) -> StoredRecord:
        for one in message.properties:
            ids.member_id(one.capability_id)
            ids.member_id(one.property)
            if isinstance(codec.value_from_proto(one.value), list | dict):
                raise InvalidRequestError(f"{one.capability_id}.{one.property} is not a single value")
        message.session_epoch = 0
        for one in message.properties:
            one.settled_revision = 0
        data = message.SerializeToString(deterministic=True)
        if len(data) > MAX_BYTES:
            raise InvalidRequestError(f"the twin is {len(data)} bytes, at most {MAX_BYTES} are allowed")
        return StoredRecord(kind, ids.device_id(message.device_id), data)

    return reader


_READERS: dict[str, Callable[[Any], StoredRecord]] = {
    "document": _document,
    "contract_body": _body,
    "device": _device,
    "contract": _contract,
    "group": _group,
    "twin_desired": _twin(RecordKind.TWIN_DESIRED),
    "twin_reported": _twin(RecordKind.TWIN_REPORTED),
}


def _records(request: pb.RestoreRequest, before: int) -> list[StoredRecord]:
    """Return the records of a request; errors name the position in the whole stream, from 0."""
    if len(request.records) > MAX_RECORDS:
        raise InvalidRequestError(
            f"{len(request.records)} records in one message, at most {MAX_RECORDS} are allowed", field="records"
        )
    found = []
    for number, record in enumerate(request.records, before):
        try:
            found.append(record_from_proto(record))
        except YggError as e:
            raise InvalidRequestError(
                f"record {number}: {e.message}", hint=e.hint, field="records", position=number
            ) from e
    return found


class BackupApi(backup_pb2_grpc.BackupServiceServicer):
    """The servicer. See backup.proto for each RPC and its errors."""

    def __init__(self, backups: Backups) -> None:
        self._backups = backups

    async def Backup(self, request: pb.BackupRequest, context: Any) -> AsyncIterator[pb.BackupResponse]:
        """See backup.proto."""
        require_user()
        async for kept, done, total in self._backups.backup():
            yield pb.BackupResponse(record=record_to_proto(kept), done=done, total=total)

    async def Restore(self, requests: AsyncIterator[pb.RestoreRequest], context: Any) -> pb.RestoreResponse:
        """See backup.proto."""
        require_user()
        restore, position = None, 0
        async for request in requests:
            restore = restore or self._backups.restore(overwrite=request.overwrite)
            await restore.write(_records(request, position))
            position += len(request.records)
        if restore is None:
            return pb.RestoreResponse()
        found = await restore.finish()
        return pb.RestoreResponse(
            written=found.written,
            equal=found.equal,
            different=found.different,
            differing=found.differing,
            newer=found.newer,
        )
