"""Fuzz targets for bytes: each accepts any bytes and raises only if the bridge has a bug.

A target returns a short description of the outcome, without numbers. An input with a new outcome joins the corpus.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from google.protobuf.message import DecodeError

from services.chassis import codec
from services.domain.contract import LinkTerms
from services.jotunheim_bridge.errors import HelloRefusedError, LinkError
from services.jotunheim_bridge.model import negotiation
from services.jotunheim_bridge.model.framing import FrameDecoder, encode
from services.jotunheim_bridge.model.negotiation import BridgeLimits
from services.jotunheim_bridge.model.policy import Policy
from services.jotunheim_bridge.service.negotiator import _notice
from tests.fuzz.world import DEVICE, World, offered_document, pages, valid_hello
from yggdrasil.device.v1 import link_pb2 as link

LIMIT = 1024


def words(text: str) -> str:
    """Return the text without the parts that vary with the input."""
    return re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "#", text)[:80]


def _decoded(pieces: list[bytes]) -> tuple[list[link.Frame], str]:
    decoder, frames = FrameDecoder(LIMIT), list[link.Frame]()
    for piece in pieces:
        try:
            frames += decoder.feed(piece)
        except LinkError as e:
            assert len(e.frame().message.encode()) <= 127
            return frames, e.message
        assert len(decoder._buffer) <= LIMIT + 3, "the decoder holds more than a frame"
    return frames, ""


def frames(data: bytes) -> str:
    """Decode: bounded memory, the same result for every split, and decoded frames can be encoded again."""
    whole, error = _decoded([data])
    single, other = _decoded([data[i : i + 1] for i in range(len(data))])
    assert (error == other or "unknown frames in one read" in error) and single[: len(whole)] == whole
    for frame in whole:
        assert list(FrameDecoder(2**21).feed(encode(frame))) == [frame]
    return words(error) + " ".join(sorted({frame.WhichOneof("body") or "" for frame in whole}))


def hello(data: bytes) -> str:
    """Check a Hello: terms within bounds, or a refusal that fits a frame of 256 bytes."""
    try:
        message = link.Hello.FromString(data)
    except DecodeError:
        return "not a message"
    message.device_id = DEVICE if message.device_id else ""
    try:
        negotiation.check_hello(message, DEVICE)
        choices = negotiation.choose_features(message)
        terms = negotiation.terms(message, BridgeLimits())
    except HelloRefusedError as e:
        assert link.Frame(refused=e.frame()).ByteSize() <= 256
        return f"{link.RefusedCode.Name(e.code)} {words(e.message)}"
    assert 256 <= terms.device_rx_frame_bytes <= message.limits.rx_frame_bytes
    assert 256 <= terms.device_tx_frame_bytes <= message.limits.tx_frame_bytes
    assert 1 <= terms.calls_in_flight <= message.limits.calls_in_flight
    assert [choice.name for choice in choices] == [offer.name for offer in message.features]
    return f"fine, {len(choices)} features"


def document(data: bytes) -> str:
    """Negotiate a document: a contract or a refusal, with a notice that fits the smallest frame."""
    terms = LinkTerms(1, 256, 256, 1, 1000)
    try:
        agreed = negotiation.agree(DEVICE, data, Policy("p", deny=("actuator.siren",)), terms)
    except HelloRefusedError as e:
        return words(e.message)
    contract = agreed.contract
    assert set(agreed.positions) == {capability.id for capability in contract.capabilities}
    assert not set(agreed.positions.values()) & set(agreed.refused_positions)
    message = codec.contract_to_proto(contract)
    assert codec.contract_from_proto(message).capabilities == contract.capabilities
    assert link.Frame(contract=_notice(agreed, 256)).ByteSize() <= 256
    return f"{len(contract.capabilities)} {' '.join(words(refusal.message) for refusal in contract.refused[:3])}"


def session(data: bytes) -> str:
    """Feed an active session: it ends with valid frames, responds within bounds, and no task fails."""
    world = World()
    try:
        connection, transport = world.connect()
        known = offered_document()
        for frame in (link.Frame(hello=valid_hello()), *pages(known, 992)):
            world.feed(connection, transport, encode(frame))
        assert transport.frames[-1].WhichOneof("body") == "contract"
        seen = len(transport.frames)
        world.feed(connection, transport, data)
        for _ in range(5):
            world.settle(1.0)
            world.sweep()
        assert transport.ended, "a silent session did not end"
        answers = transport.frames[seen:]
        assert all(frame.ByteSize() <= 512 for frame in answers)
        assert not transport.after_closing, "something was written after the end"
    finally:
        world.close()
    assert not world.faults, world.faults
    ending = [words(frame.goodbye.message) for frame in answers if frame.WhichOneof("body") == "goodbye"]
    return " ".join([*sorted({frame.WhichOneof("body") or "" for frame in answers}), *ending])


TARGETS: dict[str, Callable[[bytes], str]] = {
    "frames": frames,
    "hello": hello,
    "document": document,
    "session": session,
}
