"""Model of a session: hypothesis chooses the next step of the device, callers, registry, stream and clock.

Invariants after every step: only stored events are acknowledged, numbers only increase, no more calls are in flight
than agreed, no frame exceeds the device's limit, and memory is bounded.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.domain.errors import YggError
from services.jotunheim_bridge.adapters.connection import INBOX_LIMIT, DeviceConnection
from services.jotunheim_bridge.model.calls import DeviceCall, Operation
from services.jotunheim_bridge.model.framing import encode
from services.jotunheim_bridge.ports import Desired
from services.jotunheim_bridge.service.session import EVENT_WINDOW, TELEMETRY_CREDIT, Session
from tests.fuzz.world import DEVICE, Transport, World, offered_document, pages, valid_hello
from yggdrasil.device.v1 import link_pb2 as link

CALLS, TWINS = 2, 1
values = st.one_of(
    st.booleans().map(lambda v: link.LinkValue(boolean=v)),
    st.integers(-5, 1005).map(lambda v: link.LinkValue(integer=v)),
    st.floats().map(lambda v: link.LinkValue(number=v)),
    st.text(max_size=12).map(lambda v: link.LinkValue(text=v)),
    st.just(link.LinkValue()),
)
arguments = st.lists(st.builds(link.Argument, index=st.integers(0, 3), value=values), max_size=3)
small, call_ids = st.integers(0, 4), st.sampled_from(["c0", "c1", "c2", "c3"])
bodies = st.one_of(
    st.builds(link.Event, sequence=small, capability=small, event=small, fields=arguments).map(lambda b: ("event", b)),
    st.builds(link.Result, call_id=call_ids, status=st.integers(0, 9), values=arguments, more=st.booleans()).map(
        lambda b: ("result", b)
    ),
    st.lists(st.builds(link.Sample, capability=small, property=small, value=values), max_size=9).map(
        lambda b: ("telemetry", link.Telemetry(samples=b))
    ),
    st.builds(
        link.TwinReport,
        version=small,
        complete=st.booleans(),
        states=st.lists(
            st.builds(link.TwinState, capability=small, property=small, value=values, status=st.integers(0, 9)),
            max_size=9,
        ),
    ).map(lambda b: ("twin_report", b)),
    st.builds(link.CapabilityPage, offset=small, data=st.binary(max_size=8)).map(lambda b: ("capability_page", b)),
    st.builds(link.CapabilityUpdate, capabilities_size_bytes=small).map(lambda b: ("capability_update", b)),
    st.sampled_from([("goodbye", link.Goodbye()), ("pong", link.Pong()), ("contract", link.ContractNotice())]),
)


class SessionMachine(RuleBasedStateMachine):
    """One device id, one connection at a time, one bridge."""

    examples: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.world = World()
        self.connection: DeviceConnection | None = None
        self.transport: Transport | None = None
        self.boot, self.sequence, self.version = 7, 0, 1
        self.exempt: set[tuple[int, int]] = set()
        self.acknowledged = self.handled = 0
        self.calls: list[asyncio.Task[None]] = []
        self.invoked: list[link.Invoke] = []

    @property
    def session(self) -> Session | None:
        return self.world.bridge.session(DEVICE)

    @property
    def up(self) -> bool:
        return self.transport is not None and not self.transport.closing

    def send(self, *frames: link.Frame) -> None:
        if self.connection is not None and self.transport is not None:
            self.world.feed(self.connection, self.transport, b"".join(encode(frame) for frame in frames))

    @precondition(lambda self: not self.up)
    @rule(reboot=st.booleans(), version=st.integers(1, 3))
    def connect(self, reboot: bool, version: int) -> None:
        """Negotiate a contract, if the registry is available and the device active."""
        self.version = version
        if reboot:
            self.boot, self.sequence = self.boot + 1, 0
        self.connection, self.transport = self.world.connect()
        self.acknowledged = self.handled = 0
        self.invoked = []
        self.send(link.Frame(hello=valid_hello(self.boot, version, CALLS)))
        if not self.up or not self.transport.frames:
            return
        welcome = self.transport.frames[0].welcome
        assert welcome.last_event_sequence <= self.sequence
        if welcome.send_capabilities:
            self.send(*pages(offered_document(version), welcome.page_bytes))

    @precondition(lambda self: self.up and self.session)
    @rule(count=st.integers(1, 40), capability=st.sampled_from([0, 0, 0, 2]))
    def send_events(self, count: int, capability: int) -> None:
        """Send valid events; exceeding the window ends the session."""
        value = link.Argument(index=0, value=link.LinkValue(integer=1))
        frames = []
        for _ in range(count):
            self.sequence += 1
            if capability == 2:
                self.exempt.add((self.boot, self.sequence))
            event = link.Event(sequence=self.sequence, capability=capability, fields=[value])
            frames.append(link.Frame(event=event))
        self.send(*frames)

    @precondition(lambda self: self.up and self.session)
    @rule(count=st.integers(1, 70))
    def send_telemetry(self, count: int) -> None:
        """Send telemetry, possibly beyond the credit."""
        sample = link.Sample(capability=1, value=link.LinkValue(integer=3))
        self.send(*[link.Frame(telemetry=link.Telemetry(samples=[sample] * 8))] * count)

    @precondition(lambda self: self.up and self.session)
    @rule(on=st.booleans(), version=st.integers(0, 3), status=st.sampled_from([1, 1, 5, 6]), complete=st.booleans())
    def report_twin(self, on: bool, version: int, status: link.ResultStatus.ValueType, complete: bool) -> None:
        """Report the LED; a second complete report, or one of an unsent version, ends the session."""
        state = link.TwinState(value=link.LinkValue(boolean=on), status=status)
        self.send(link.Frame(twin_report=link.TwinReport(version=version, states=[state], complete=complete)))

    @rule(revision=st.integers(0, 3), on=st.booleans(), gone=st.booleans(), away=st.booleans())
    def change_desired(self, revision: int, on: bool, gone: bool, away: bool) -> None:
        """Change the desired state, possibly of an unknown property, with the registry available or not."""
        path = ("fan0", "on") if gone else ("led0", "on")
        self.world.twins.away = away
        self.world.twins.revision, self.world.twins.desired = revision, {path: on}
        if self.session is not None:
            self.world.bridge.twins.on_desired(self.session, Desired(revision, {path: (on, revision)}))

    @precondition(lambda self: self.up and self.session)
    @rule(body=bodies)
    def send_frame(self, body: tuple[str, object]) -> None:
        """Send a frame that may be invalid in any way."""
        name, message = body
        if isinstance(message, link.Event):
            self.sequence = max(self.sequence, message.sequence)
            self.exempt.add((self.boot, message.sequence))
        self.send(link.Frame(**{name: message}))  # type: ignore[arg-type]

    @precondition(lambda self: self.up)
    @rule(data=st.binary(max_size=40))
    def send_bytes(self, data: bytes) -> None:
        """Send arbitrary bytes."""
        if self.connection is not None and self.transport is not None:
            self.world.feed(self.connection, self.transport, data)

    @rule(call_id=call_ids, timeout_s=st.sampled_from([0.01, 1.0, 20.0]), tally=st.booleans(), boot=st.booleans())
    def call(self, call_id: str, timeout_s: float, tally: bool, boot: bool) -> None:
        """Invoke an action; it ends with a result or a YggError."""
        where, given = (("cnt0", "tally"), {}) if tally else (("led0", "blink"), {"times": 3})
        boot_id = f"{self.boot:016x}" if boot else ""
        one = DeviceCall(DEVICE, Operation.ACTION, *where, given, call_id, boot_id)

        async def run() -> None:
            try:
                await self.world.calls.call(one, timeout_s)
            except YggError:
                return

        self.calls.append(self.world.loop.create_task(run()))
        self.world.settle(0.001)

    @precondition(lambda self: self.up and self.session)
    @rule()
    def exceed_call_limit(self) -> None:
        """Start more concurrent calls than the contract allows."""
        for call_id in ("d0", "d1", "d2", "d3"):
            self.call(call_id=call_id, timeout_s=20.0, tally=False, boot=True)

    @precondition(lambda self: self.up and self.invoked)
    @rule(data=st.data(), more=st.booleans())
    def respond(self, data: st.DataObject, more: bool) -> None:
        """Send a valid result, or a further one of a streamed action."""
        invoke = data.draw(st.sampled_from(self.invoked))
        value = link.Argument(index=0, value=link.LinkValue(integer=1))
        status = link.RESULT_STATUS_OK
        self.send(link.Frame(result=link.Result(call_id=invoke.call_id, status=status, values=[value], more=more)))

    @precondition(lambda self: self.up and self.session)
    @rule(version=st.integers(1, 4))
    def update(self, version: int) -> None:
        """Update the capabilities with a valid document."""
        hello, data = valid_hello(version=version), offered_document(version)
        update = link.CapabilityUpdate(capabilities_digest=hello.capabilities_digest, capabilities_size_bytes=len(data))
        self.send(link.Frame(capability_update=update))
        last = self.transport.frames[-1] if self.transport is not None else link.Frame()
        if self.up and last.capability_update_ack.send_capabilities:
            self.send(*pages(data, last.capability_update_ack.page_bytes))

    @rule(sink=st.booleans(), registry=st.booleans(), state=st.sampled_from(["active", "active", "suspended"]))
    def set_availability(self, sink: bool, registry: bool, state: str) -> None:
        """Make the stream and the registry available or unavailable, and set the device's state."""
        self.world.sink.away, self.world.registry.away, self.world.registry.state = sink, registry, state

    @rule(seconds=st.sampled_from([0.1, 0.6, 2.0, 40.0]), ping=st.booleans())
    def wait(self, seconds: float, ping: bool) -> None:
        """Let time pass; a device that pings is not silent."""
        if ping and self.up and self.session:
            self.send(link.Frame(ping=link.Ping(token=1)))
        self.world.settle(seconds)
        self.world.sweep()

    @precondition(lambda self: self.up)
    @rule()
    def vanish(self) -> None:
        """Cut the device's power."""
        if self.transport is not None:
            self.world.loop.call_soon(self.transport.close)
            self.world.settle()

    @invariant()
    def frames_are_valid(self) -> None:
        """Check sizes, order, acknowledgements and calls from the device's point of view."""
        if self.transport is None:
            return
        assert not self.transport.after_closing
        for frame in self.transport.frames[self.handled :]:
            body = frame.WhichOneof("body")
            assert frame.ByteSize() <= 512, "larger than the device can receive"
            if body == "event_ack":
                self._acknowledge(frame.event_ack.sequence)
            if body == "invoke":
                assert any(f.WhichOneof("body") == "contract" for f in self.transport.frames)
                self.invoked.append(frame.invoke)
        self.handled = len(self.transport.frames)

    def _acknowledge(self, sequence: int) -> None:
        assert self.acknowledged <= sequence <= self.sequence, "an acknowledgement goes back, or ahead of the device"
        self.acknowledged = sequence
        stored = self.world.sink.stored.get(f"{self.boot:016x}", [])
        exempt = (self.boot, sequence) in self.exempt
        assert exempt or sequence <= max(stored, default=0), "acknowledged and not stored"

    @invariant()
    def stream_is_ordered(self) -> None:
        """Check that the events of each boot are stored in the order of their sequence."""
        for boot, sequences in self.world.sink.stored.items():
            assert sequences == sorted(set(sequences)), boot

    @invariant()
    def memory_is_bounded(self) -> None:
        """Check that every buffer is within its limit."""
        assert not self.world.faults, self.world.faults
        session = self.session
        if session is not None:
            assert len(session.calls._waiting) <= CALLS
            assert len(session._outbox) <= EVENT_WINDOW + 8
            assert len(session._telemetry) <= TELEMETRY_CREDIT * 8
            assert 0 <= session._unacknowledged <= EVENT_WINDOW
            assert session.twin is not None
            assert len(session.twin._reports) <= TWINS
            assert len(session.twin._sent) <= TWINS
        if self.connection is not None and self.up:
            assert (self.connection._inbox.qsize() if self.connection._inbox else 0) <= INBOX_LIMIT + 1
            assert len(self.connection._decoder._buffer) <= 1024 + 3

    def teardown(self) -> None:
        """Check that all tasks end after the device has disconnected."""
        self.world.sink.away = self.world.registry.away = self.world.twins.away = False
        if self.transport is not None:
            self.world.loop.call_soon(self.transport.close)
        self.world.settle(60.0)
        assert self.session is None
        assert not self.world.bridge._tasks, "tasks are left when all sessions are over"
        self.world.settle(300.0)
        assert all(task.done() for task in self.calls)
        for task in self.calls:
            task.result()
        faults = self.world.faults
        self.world.close()
        assert not faults, faults
