"""The bridge's real connection, negotiator, sessions and calls on in-memory ports and an event loop with virtual time.

A timer fires as soon as nothing else can run, so timeouts cost no real time. Uncaught exceptions of the bridge's tasks
are collected in `faults`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from services.chassis import codec
from services.chassis.errors import RemoteError, StoreUnavailableError
from services.domain.contract import Changes, Contract, compare
from services.domain.errors import Code
from services.domain.twin import Path
from services.domain.values import Value
from services.jotunheim_bridge.adapters.connection import ALPN, DeviceConnection
from services.jotunheim_bridge.errors import DeviceOfflineError
from services.jotunheim_bridge.model.calls import DeviceCall
from services.jotunheim_bridge.model.framing import MAX_FRAME_BYTES, FrameDecoder
from services.jotunheim_bridge.model.negotiation import BridgeLimits
from services.jotunheim_bridge.model.policy import Policy
from services.jotunheim_bridge.ports import Build, Claim, DeviceFacts, Issued, SessionFacts, Targets, TwinReport, Watch
from services.jotunheim_bridge.service.bridge import Bridge
from services.jotunheim_bridge.service.calls import Calls
from services.jotunheim_bridge.service.calls import Mesh as CallMesh
from services.jotunheim_bridge.service.negotiator import Mesh, Negotiator
from services.jotunheim_bridge.service.ota import OtaRelay
from services.jotunheim_bridge.service.renewal import Renewals
from services.jotunheim_bridge.service.twins import TwinSync
from tests.fakes.device import BOOL, document, hello, led, number
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

DEVICE = "porch-1"
EPOCH = datetime(2026, 3, 1, tzinfo=UTC)


def offered_document(version: int = 1) -> bytes:
    """Return the device's document: an LED, an observable counter, a siren that policy denies (indexes 0 to 2)."""
    integer = number(cp.VALUE_TYPE_INT, 0, 1000)
    tally = cp.Action(name="tally", results=[cp.Parameter(name="n", schema=integer)], streamed=True)
    count = cp.Property(name="count", schema=integer, readable=True, observable=True)
    text = cp.Parameter(name="text", schema=cp.DataSchema(type=cp.VALUE_TYPE_STRING, max_length=8))
    counter = cp.Capability(
        id="cnt0",
        type="counter.tally",
        version=version,
        properties=[count, cp.Property(name="still", schema=BOOL, readable=True)],
        actions=[tally],
        events=[cp.Event(name="noted", fields=[text])],
    )
    return document(led(), counter, led("siren0", "actuator.siren"))


class Loop(asyncio.SelectorEventLoop):
    """An event loop with virtual time, which jumps to the next timer when the loop is idle."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__()

    def time(self) -> float:
        """Return the virtual seconds since the loop was created."""
        return self._now_s

    def _run_once(self) -> None:
        inner = cast(Any, self)
        waiting = [timer._when for timer in inner._scheduled if not timer._cancelled]
        if not inner._ready and waiting:
            self._now_s = max(self._now_s, min(waiting))
        super()._run_once()  # type: ignore[misc]


class Clock:
    """A clock on the loop's virtual time."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()


class Registry:
    """An in-memory registry; `away` makes it unavailable, `state` is the state of every device."""

    def __init__(self) -> None:
        self.away, self.state = False, "active"
        self.documents: dict[str, bytes] = {}
        self.contract: Contract | None = None

    def _answer(self) -> None:
        if self.away:
            raise RemoteError(Code.UNAVAILABLE, "STORE_UNAVAILABLE", "the registry does not answer")

    async def device(self, device_id: str) -> DeviceFacts | None:
        self._answer()
        return DeviceFacts(self.state, {})

    async def matching(self, targets: Targets) -> AsyncIterator[str]:
        for device_id in targets.device_ids:
            yield device_id

    async def document(self, digest: str) -> bytes | None:
        self._answer()
        return self.documents.get(digest)

    async def record(self, contract: Contract, document: bytes, build: Build) -> tuple[Contract, Changes | None]:
        self._answer()
        codec.contract_to_proto(contract)
        if document:
            self.documents[contract.document_digest] = document
        old = self.contract
        if old is not None and (old.capabilities, old.refused) == (contract.capabilities, contract.refused):
            return old, None
        self.contract = replace(contract, revision=old.revision + 1 if old else 1)
        return self.contract, compare(old, self.contract)

    async def online(self, after: str, limit: int) -> tuple[list[str], str]:
        return [], ""


class Sessions:
    """A session store with increasing epochs."""

    bridge_id = "bridge-0"

    def __init__(self) -> None:
        self._epochs = itertools.count(1)
        self.latest = 0

    async def claim(self, facts: SessionFacts) -> Claim:
        self.latest = next(self._epochs)
        session = pb.Session(device_id=facts.device_id, session_id=facts.session_id, epoch=self.latest, online=True)
        return Claim(session, self.latest)

    async def release(self, claim: Claim) -> bool:
        return claim.revision == self.latest

    async def abandon(self, facts: SessionFacts) -> None: ...

    async def get(self, device_id: str) -> pb.Session | None:
        return None


class Twins:
    """Records reports; a complete report gets `desired` with its revision as the response."""

    def __init__(self) -> None:
        self.away = False
        self.revision = 0
        self.desired: dict[Path, Value] = {}
        self.reports: list[TwinReport] = []

    async def report(self, report: TwinReport) -> tuple[int, dict[Path, Value]]:
        await asyncio.sleep(0.01)
        if self.away:
            raise RemoteError(Code.UNAVAILABLE, "STORE_UNAVAILABLE", "the registry does not answer")
        self.reports.append(report)
        return (self.revision, dict(self.desired)) if report.complete else (0, {})


class Sink:
    """The event stream: stores each event of a boot once; `away` makes it unavailable."""

    def __init__(self) -> None:
        self.away = False
        self.stored: dict[str, list[int]] = {}
        self.kinds: list[int] = []

    async def publish(self, events: Sequence[pb.DeviceEvent]) -> None:
        await asyncio.sleep(0.01)
        if self.away:
            raise StoreUnavailableError("the stream does not answer")
        for event in events:
            self.kinds.append(event.kind)
            if event.kind == pb.EVENT_KIND_EVENT and event.sequence not in self.stored.setdefault(event.boot_id, []):
                self.stored[event.boot_id].append(event.sequence)

    async def publish_unacknowledged(self, events: Sequence[pb.DeviceEvent]) -> None:
        await asyncio.sleep(0.01)

    async def last_sequence(self, device_id: str, boot_id: str) -> int:
        return self.stored.get(boot_id, [0])[-1]

    async def watch(self, device_ids: Collection[str], kinds: Collection[int], after: int | None) -> Watch:
        raise NotImplementedError


class Router:
    """A router without other bridges."""

    async def call(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> dict[str, Value]:
        raise DeviceOfflineError(call.device_id)

    async def stream(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> AsyncIterator[dict[str, Value]]:
        raise DeviceOfflineError(call.device_id)
        yield {}

    async def disconnect(self, bridge_id: str, device_id: str) -> None:
        raise DeviceOfflineError(device_id)


class Certificates:
    """A registry without a device CA."""

    async def renew(self, device_id: str, certificate: bytes, request: bytes) -> Issued:
        raise StoreUnavailableError("no device CA")


class Transport:
    """A fake TLS transport with its SSLObject; decodes the written bytes into `frames`."""

    def __init__(self, connection: DeviceConnection) -> None:
        self._connection, self._decoder = connection, FrameDecoder(MAX_FRAME_BYTES)
        self.closing = self.ended = False
        self.frames: list[link.Frame] = []
        self.after_closing = 0

    def get_extra_info(self, name: str) -> object:
        return self if name == "ssl_object" else ("192.0.2.1", 7)

    def selected_alpn_protocol(self) -> str:
        return ALPN

    def getpeercert(self, binary_form: bool = False) -> dict[str, object] | bytes:
        if binary_form:
            return b"certificate"
        uri = ("URI", f"ygg://main/device/{DEVICE}")
        return {
            "notBefore": "Jan  1 00:00:00 2026 GMT",
            "notAfter": "Jan  1 00:00:00 2030 GMT",
            "subjectAltName": (uri,),
        }

    def write(self, data: bytes) -> None:
        self.after_closing += self.closing
        self.frames += self._decoder.feed(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.write(part)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._lost)

    abort = close

    def _lost(self) -> None:
        self.ended = True
        self._connection.connection_lost(None)

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class World:
    """One bridge and its devices' connections. `run` runs a coroutine, `settle` lets time pass."""

    def __init__(self, sessions: Sessions | None = None, calls_in_flight: int = 16) -> None:
        self.loop = Loop()
        self.faults: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(str(context)))
        self.clock, self.registry = Clock(self.loop), Registry()
        self.sessions, self.sink = sessions or Sessions(), Sink()
        ids = itertools.count()
        mesh = Mesh(self.registry, self.sessions, self.sink, self.clock)
        policies = (Policy("fuzz", deny=("actuator.siren",)),)
        limits = BridgeLimits(calls_in_flight=calls_in_flight, heartbeat_ms=1000)
        negotiator = Negotiator(mesh, policies, limits, lambda: f"session-{next(ids)}")
        self.twins = Twins()
        renewals = Renewals(Certificates(), self.clock)
        self.bridge = Bridge(
            negotiator, self.sessions, self.sink, self.clock, TwinSync(self.twins), OtaRelay(None), renewals
        )
        others = CallMesh(self.registry, self.sessions, self.sink, Router())
        self.calls = Calls(self.bridge, others, lambda: f"call-{next(ids)}")
        self._open: set[DeviceConnection] = set()

    def connect(self) -> tuple[DeviceConnection, Transport]:
        """Open a connection after its TLS handshake."""
        connection = DeviceConnection(self.bridge, self.clock, self._open)
        transport = Transport(connection)

        async def made() -> None:
            connection.connection_made(cast(asyncio.BaseTransport, transport))

        self.run(made())
        return connection, transport

    def run(self, work: Any) -> Any:
        """Run a coroutine and return its result."""
        return self.loop.run_until_complete(work)

    def feed(self, connection: DeviceConnection, transport: Transport, data: bytes) -> None:
        """Receive bytes from the device if the connection is open, and run the immediate effects."""

        async def receive() -> None:
            if not transport.closing:
                connection.data_received(data)

        self.run(receive())
        self.settle()

    def settle(self, seconds: float = 0.05) -> None:
        """Let virtual time pass."""
        self.run(asyncio.sleep(seconds))

    def sweep(self) -> None:
        """Check the connections for silence, like the listener once a second."""

        async def swept() -> None:
            for connection in tuple(self._open):
                connection.sweep(1.0)

        self.run(swept())

    def close(self) -> None:
        """Cancel all tasks and close the loop. A pending task is a fault only if it raises."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.settle()
        self.loop.close()


def valid_hello(boot_id: int = 7, version: int = 1, calls: int = 2) -> link.Hello:
    """Return a valid Hello."""
    limits = link.Limits(rx_frame_bytes=512, tx_frame_bytes=1024, calls_in_flight=calls, rx_record_bytes=512)
    return hello(DEVICE, offered_document(version), boot_id=boot_id, limits=limits)


def pages(data: bytes, page_bytes: int) -> list[link.Frame]:
    """Return the CapabilityPage frames of a document."""
    cut = range(0, len(data), page_bytes)
    return [link.Frame(capability_page=link.CapabilityPage(offset=at, data=data[at : at + page_bytes])) for at in cut]
