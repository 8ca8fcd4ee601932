"""Brings a new link to its contract.

    Hello ─► check ─► Welcome ─► (CapabilityPage …) ─► agree ─► record ─► claim ─► ContractNotice
                 └──────────────── Refused, at any point ────────────────┘

Owns the order of the steps and the cache of capability documents by digest. The rules are in `model.negotiation`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from services.domain.access import denied_reason
from services.domain.contract import Changes, LinkTerms
from services.domain.errors import Code, YggError
from services.jotunheim_bridge.errors import HelloRefusedError, LinkError, cut
from services.jotunheim_bridge.model import negotiation
from services.jotunheim_bridge.model.negotiation import Agreement, BridgeLimits
from services.jotunheim_bridge.model.policy import Policy, choose
from services.jotunheim_bridge.ports import (
    UNREAD_LIMIT_BYTES,
    Build,
    Clock,
    EventSink,
    Registry,
    SessionFacts,
    SessionStore,
    Wire,
)
from services.jotunheim_bridge.service.claims import Claims
from services.jotunheim_bridge.service.session import EVENT_WINDOW, Session, telemetry_credit
from yggdrasil.device.v1 import link_pb2 as link

NEGOTIATION_TIMEOUT_S = 15.0
"""From the first frame to the contract, in seconds."""
RETRY_AFTER_MS = 2000
"""Reconnect delay that a refused device is given."""
MAX_CACHED_DOCUMENTS = 256
"""Documents and agreements cached by digest."""
_MAX_LISTED_REFUSALS = 4

Receive = Callable[[], Awaitable[link.Frame]]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Dependencies of the negotiator."""

    registry: Registry
    sessions: SessionStore
    events: EventSink
    clock: Clock


class Negotiator:
    """Stateless except for the cache of the last MAX_CACHED_DOCUMENTS documents and agreements."""

    def __init__(
        self, mesh: Mesh, policies: tuple[Policy, ...], limits: BridgeLimits, new_session_id: Callable[[], str]
    ) -> None:
        self._mesh, self._policies, self._limits, self._new_session_id = mesh, policies, limits, new_session_id
        self.claims = Claims(mesh.sessions)
        self._documents: OrderedDict[bytes, bytes] = OrderedDict()
        self._agreed: OrderedDict[tuple[bytes, str, tuple[str, ...], tuple[str, ...]], Agreement] = OrderedDict()

    async def negotiate(self, device_id: str, wire: Wire, receive: Receive) -> Session:
        """Return the claimed session, its contract announced to the device. Raises HelloRefusedError or LinkError."""
        started = self._mesh.clock.monotonic()
        try:
            async with asyncio.timeout(NEGOTIATION_TIMEOUT_S):
                return await self._negotiate(device_id, wire, receive, started)
        except TimeoutError as e:
            raise LinkError(link.GOODBYE_CODE_TIMEOUT, f"no contract after {NEGOTIATION_TIMEOUT_S:g} s") from e
        except YggError as e:
            code = link.REFUSED_CODE_UNAVAILABLE
            if e.code is Code.FAILED_PRECONDITION:
                code = link.REFUSED_CODE_NOT_ACTIVE
            raise HelloRefusedError(code, e.message, RETRY_AFTER_MS) from e

    async def _negotiate(self, device_id: str, wire: Wire, receive: Receive, started: float) -> Session:
        frame = await receive()
        if frame.WhichOneof("body") != "hello":
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "the first frame must be Hello")
        hello, session_id = frame.hello, self._new_session_id()
        negotiation.check_hello(hello, device_id)
        features = negotiation.choose_features(hello)
        agreed_features = negotiation.agreed_features(features)
        boot_id = f"{hello.boot_id:016x}"
        chosen = await self._admit(device_id, wire)
        document = await self._document(hello.capabilities_digest)
        last = await self._mesh.events.last_sequence(device_id, boot_id)
        terms = negotiation.terms(hello, self._limits)
        welcome = link.Welcome(
            protocol=terms.protocol,
            session_id=session_id,
            heartbeat_ms=terms.heartbeat_ms,
            device_rx_frame_bytes=terms.device_rx_frame_bytes,
            device_tx_frame_bytes=terms.device_tx_frame_bytes,
            page_bytes=negotiation.page_bytes(terms),
            server_time_ms=int(self._mesh.clock.now().timestamp() * 1000),
            send_capabilities=document is None,
            features=features,
            last_event_sequence=last,
            calls_in_flight=terms.calls_in_flight,
            event_window=EVENT_WINDOW,
            telemetry_credit=telemetry_credit(agreed_features),
            listener_max_connections=self._limits.connections,
            unread_limit_bytes=UNREAD_LIMIT_BYTES,
        )
        wire.set_limits(terms.device_tx_frame_bytes, hello.limits.rx_record_bytes)
        wire.send(link.Frame(welcome=welcome))
        fresh = document is None
        if document is None:
            document = await self._pages(hello, negotiation.page_bytes(terms), _answering(wire, receive))
        agreed = self._agree(device_id, hello.capabilities_digest, document, chosen, terms)
        build = Build(hello.hardware.model, hello.hardware.device_class, hello.firmware.version, hello.firmware.slot)
        contract, changes = await self._mesh.registry.record(agreed.contract, document if fresh else b"", build)
        self._cache(hello.capabilities_digest, document)
        agreed = replace(agreed, contract=contract)
        negotiation_ms = (self._mesh.clock.monotonic() - started) * 1000
        facts = SessionFacts(
            device_id,
            session_id,
            boot_id,
            wire.peer,
            terms,
            build,
            agreed_features,
            negotiation_ms,
            wire.expires_unix_s,
        )
        claim = await self.claims.claim(facts)
        session = Session(agreed, facts, claim, wire, self._mesh.clock, last)
        wire.send(link.Frame(contract=_notice(agreed, terms.device_rx_frame_bytes)))
        session.announce(changes)
        return session

    async def renegotiate(self, session: Session) -> Changes | None:
        """Process a CapabilityUpdate; return the changes of the contract, or None if unchanged.

        Raises LinkError, HelloRefusedError, or errors of the registry; the caller then ends the session.
        """
        try:
            async with asyncio.timeout(NEGOTIATION_TIMEOUT_S):
                return await self._renegotiate(session)
        except TimeoutError as e:
            raise LinkError(link.GOODBYE_CODE_TIMEOUT, f"no contract after {NEGOTIATION_TIMEOUT_S:g} s") from e

    async def _renegotiate(self, session: Session) -> Changes | None:
        update, pages = session.update, session.pages
        if update is None or pages is None:
            raise RuntimeError("no capability update is under way")
        negotiation.check_update(update)
        chosen = await self._admit(session.device_id, session.wire)
        document, terms = await self._document(update.capabilities_digest), session.facts.link
        page_bytes = negotiation.page_bytes(terms)
        answer = link.CapabilityUpdateAck(send_capabilities=document is None, page_bytes=page_bytes)
        session.wire.send(link.Frame(capability_update_ack=answer))
        fresh = document is None
        if document is None:
            document = await self._pages(update, page_bytes, pages.get)
        agreed = self._agree(session.device_id, update.capabilities_digest, document, chosen, terms)
        new = document if fresh else b""
        contract, changes = await self._mesh.registry.record(agreed.contract, new, session.facts.build)
        self._cache(update.capabilities_digest, document)
        agreed = replace(agreed, contract=contract)
        session.wire.send(link.Frame(contract=_notice(agreed, terms.device_rx_frame_bytes)))
        session.updated(agreed, changes)
        return changes

    async def _admit(self, device_id: str, wire: Wire) -> Policy:
        known = await self._mesh.registry.device(device_id)
        if known is None:  # certified by the device CA; its first contract registers it
            return choose(self._policies, {})
        why = denied_reason(device_id, known.state, known.revoked_unix_s, wire.certified_unix_s)
        if why:
            raise HelloRefusedError(link.REFUSED_CODE_NOT_ACTIVE, why, RETRY_AFTER_MS)
        return choose(self._policies, known.labels)

    async def _document(self, digest: bytes) -> bytes | None:
        if digest == negotiation.EMPTY_DIGEST:
            return b""
        document = self._documents.get(digest) or await self._mesh.registry.document(digest.hex())
        if document is not None:
            self._cache(digest, document)
        return document

    def _cache(self, digest: bytes, document: bytes) -> None:
        self._documents[digest] = document
        self._documents.move_to_end(digest)
        while len(self._documents) > MAX_CACHED_DOCUMENTS:
            self._documents.popitem(last=False)

    def _agree(self, device_id: str, digest: bytes, document: bytes, policy: Policy, terms: LinkTerms) -> Agreement:
        """Return the agreement, computed and stored once for all devices with this document and policy."""
        key = (digest, policy.name, policy.allow, policy.deny)
        known = self._agreed.get(key)
        if known is None:
            known = self._agreed[key] = negotiation.agree(device_id, document, policy, terms)
            while len(self._agreed) > MAX_CACHED_DOCUMENTS:
                self._agreed.popitem(last=False)
        self._agreed.move_to_end(key)
        return replace(known, contract=replace(known.contract, device_id=device_id, link=terms))

    async def _pages(self, stated: link.Hello | link.CapabilityUpdate, page_bytes: int, receive: Receive) -> bytes:
        document = bytearray()
        while len(document) < stated.capabilities_size_bytes:
            frame = await receive()
            if frame.WhichOneof("body") != "capability_page":
                raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "expected a CapabilityPage")
            page = frame.capability_page
            if page.offset != len(document) or not 0 < len(page.data) <= page_bytes:
                raise LinkError(
                    link.GOODBYE_CODE_PROTOCOL_ERROR,
                    f"a page of {len(page.data)} bytes at {page.offset}; expected 1 to {page_bytes} at {len(document)}",
                )
            document += page.data
        if len(document) > stated.capabilities_size_bytes:
            raise HelloRefusedError(link.REFUSED_CODE_CAPABILITIES, "more capability bytes than announced")
        negotiation.check_document(bytes(document), stated.capabilities_digest)
        return bytes(document)


def _answering(wire: Wire, receive: Receive) -> Receive:
    """Return a Receive that answers Ping, drops Pong and raises LinkError at Goodbye."""

    async def receive_one() -> link.Frame:
        while True:
            frame = await receive()
            body = frame.WhichOneof("body")
            if body == "goodbye":
                raise LinkError(link.GOODBYE_CODE_SHUTDOWN, "the device said goodbye")
            if body == "ping":
                wire.send(link.Frame(pong=link.Pong(token=frame.ping.token)))
            elif body != "pong":
                return frame

    return receive_one


def _notice(agreed: Agreement, limit_bytes: int) -> link.ContractNotice:
    """Return the notice with as many refusals as fit a frame of the device."""
    contract = agreed.contract
    listed = list(zip(agreed.refused_positions, contract.refused, strict=True))[:_MAX_LISTED_REFUSALS]
    notice = link.ContractNotice(
        revision=contract.revision,
        accepted=len(contract.capabilities),
        refused=len(contract.refused),
        refusals=[
            link.CapabilityRefusal(
                capability=position,
                reason=list(type(refusal.reason)).index(refusal.reason) + 1,
                message=cut(refusal.message, 63),
            )
            for position, refusal in listed
        ],
    )
    while link.Frame(contract=notice).ByteSize() > limit_bytes:
        del notice.refusals[-1]
    return notice
