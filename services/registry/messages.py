"""Messages that both the API and the stores build from the model."""

from __future__ import annotations

from services.chassis import codec
from services.registry.model import Token
from yggdrasil.registry.v1 import enrolment_pb2 as pb


def token_to_proto(token: Token) -> pb.Token:
    """Return the message Token, which never contains the secret."""
    return pb.Token(
        id=token.id,
        device_id=token.device_id,
        create_time=codec.timestamp(token.create_time),
        expire_time=codec.timestamp(token.expire_time),
        use_time=codec.timestamp(token.use_time),
        serial=token.serial,
        author=token.author,
    )
