"""The port TokenStore on the bucket `enrolment_tokens`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nats.js import JetStreamContext

from services.chassis import codec, records
from services.chassis.buckets import ENROLMENT_TOKENS
from services.chassis.kv import Bucket
from services.chassis.streams import read
from services.registry.messages import token_to_proto
from services.registry.model import Token
from yggdrasil.registry.v1 import enrolment_pb2 as pb

SCHEMA = 1


def _to_bytes(token: Token) -> bytes:
    stored = pb.StoredToken(schema=SCHEMA, token=token_to_proto(token), key_digest=token.key_digest)
    return stored.SerializeToString(deterministic=True)


def _from_bytes(revision: int, data: bytes) -> Token:
    stored = pb.StoredToken.FromString(data)
    token = stored.token
    return Token(
        token.id,
        token.device_id,
        codec.moment(token.create_time),
        codec.moment(token.expire_time),
        token.author,
        codec.moment(token.use_time) if token.HasField("use_time") else None,
        token.serial,
        stored.key_digest,
        revision,
    )


@dataclass(frozen=True, slots=True)
class KvTokenStore:
    """The port TokenStore."""

    js: JetStreamContext
    bucket: Bucket

    @classmethod
    async def open(cls, js: JetStreamContext) -> KvTokenStore:
        """Open the bucket; create it if it is missing."""
        return cls(js, await Bucket.create(js, ENROLMENT_TOKENS))

    async def get(self, token_id: str) -> Token | None:
        """Return the token, or None."""
        entry = await self.bucket.get(token_id)
        if entry is None:
            return None
        return records.decode(ENROLMENT_TOKENS.name, token_id, entry.value, partial(_from_bytes, entry.revision))

    async def create(self, token: Token) -> None:
        """Store a new token."""
        await self.bucket.create_key(token.id, _to_bytes(token))

    async def update(self, token: Token) -> None:
        """Store a change; raises RevisionConflictError if `token.revision` is not the current one."""
        await self.bucket.update(token.id, _to_bytes(token), token.revision)

    async def delete(self, token_id: str) -> None:
        """Write a delete marker, which expires with the bucket's time to live."""
        await self.bucket.delete(token_id)

    async def all(self) -> Sequence[Token]:
        """Return every stored token."""
        batches = read(self.js, ENROLMENT_TOKENS.stream, latest=True)
        kept = [record async for batch in batches for record in batch if not record.deleted]
        name = ENROLMENT_TOKENS.name
        found = [records.try_decode(name, one.subject, one.data, partial(_from_bytes, one.sequence)) for one in kept]
        return [token for token in found if token is not None]
