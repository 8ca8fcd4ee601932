"""One worker process that holds many programs: turns go out, what they ask is answered, what does not end is killed.

The worker handles frames in the order in which they were sent, and each TURN, ANSWER and STOP makes it run one slice
that ends in exactly one CALL, DONE or FAIL. So the first of `_slices` is what runs now, and is to blame when the
process ends.

    slice    --CALL--> its turn waits for the host; ANSWER makes another slice
             --DONE, FAIL--> its turn is over
             SLICE_S without an end: SIGUSR1;  GRACE_S later still none: SIGKILL
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

from services.domain.errors import YggError
from services.domain.ids import printable
from services.loki.adapters import messages
from services.loki.adapters.failure import script_error
from services.loki.adapters.worker import START_TIMEOUT_S, WorkerCommand
from services.loki.engines import wire
from services.loki.engines.wire import Kind, WireError
from services.loki.errors import EngineMissingError, ScriptError
from services.loki.programs.errors import WorkerLostError
from services.loki.programs.ports import TurnDone, TurnHost

SLICE_S = 1.0
GRACE_S = 0.5
TICK_S = 0.2


@dataclass(slots=True)
class _Turn:
    program: int
    host: TurnHost
    future: asyncio.Future[TurnDone]
    answering: asyncio.Task[None] | None = None
    stopped: bool = False


class LiveWorker(asyncio.Protocol):
    """Implements the port ProgramWorker."""

    def __init__(self, process: subprocess.Popen[bytes], language: str) -> None:
        self._process, self._language = process, language
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._turns: dict[int, _Turn] = {}
        self._slices: deque[int] = deque()
        self._slice_began_s = 0.0
        self._asked_s = 0.0
        self._seen = 0
        self._number = 0
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[str] = self._loop.create_future()
        self._tick: asyncio.TimerHandle | None = None
        self._how = ""
        self.lost = asyncio.Event()
        self.programs: set[int] = set()
        self.culprit = 0

    @classmethod
    async def start(cls, command: WorkerCommand) -> LiveWorker:
        """A process that has said READY; raises EngineMissingError with what it said instead."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            process = subprocess.Popen(  # noqa: ASYNC220 - forked from the loop's thread: PR_SET_PDEATHSIG is by thread
                dataclasses.replace(command, lives=True).argv(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        worker = cls(process, command.language.value)
        await worker._loop.create_unix_connection(lambda: worker, sock=ours)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await worker._ready
        except BaseException:
            worker.kill("it did not start")
            raise
        worker._watch()
        return worker

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def turn(self, program: int, request: dict[str, Any], host: TurnHost) -> tuple[int, asyncio.Future[TurnDone]]:
        """Begins a turn; its number, and its end: TurnDone, or ScriptError or WorkerLostError."""
        self._number = self._number % 0xFFFFFFFF + 1
        turn = _Turn(program, host, self._loop.create_future())
        if self.lost.is_set() or self._transport is None:
            turn.future.set_exception(WorkerLostError(self._how or "it is gone"))
            return self._number, turn.future
        self._turns[self._number] = turn
        self._slice(Kind.TURN, self._number, wire.dump({"program": program, **request}))
        return self._number, turn.future

    def stop_turn(self, number: int) -> bool:
        """Drops a turn that waits for the host; False where it does not wait: the slice has its own limit."""
        turn = self._turns.get(number)
        if turn is None or turn.answering is None:
            return False
        turn.answering.cancel()
        turn.answering, turn.stopped = None, True
        self._slice(Kind.STOP, number, b"{}")
        return True

    def drop(self, program: int) -> None:
        """Forgets a program; its turns end as stopped."""
        self.programs.discard(program)
        for turn in self._turns.values():
            if turn.program == program:
                if turn.answering is not None:
                    turn.answering.cancel()
                    turn.answering = None
                turn.stopped = True
                if not turn.future.done():
                    turn.future.set_exception(ScriptError("STOPPED", "the program was stopped"))
        waiting = set(self._slices)
        for number in [n for n, t in self._turns.items() if t.program == program and n not in waiting]:
            del self._turns[number]
        if not self.lost.is_set() and self._transport is not None:
            self._transport.write(wire.frame(Kind.DROP, program, b"{}"))

    def kill(self, how: str) -> None:
        """Ends the process at once."""
        self._how = self._how or how
        if self._process.poll() is None:
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Ends the process and waits for its end."""
        self.kill("the service stops")
        await self._loop.run_in_executor(None, self._process.wait)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Frames; whatever breaks the protocol ends the process."""
        buffer = self._buffer
        buffer += data
        at, size = 0, wire.HEADER.size
        try:
            while len(buffer) - at >= size:
                kind, run, length = wire.unpack_header(bytes(buffer[at : at + size]))
                if len(buffer) - at - size < length:
                    break
                self._received(kind, run, bytes(buffer[at + size : at + size + length]))
                at += size + length
        except WireError as e:
            self.kill(f"it sent {e}")
        del buffer[:at]

    def connection_lost(self, _exc: Exception | None) -> None:
        """The process has ended, or is about to."""
        if self.lost.is_set():
            return
        self.lost.set()
        if self._tick is not None:
            self._tick.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._loop.run_in_executor(None, self._process.wait)
        culprit = self._turns[self._slices[0]].program if self._slices and self._slices[0] in self._turns else 0
        self.culprit = culprit
        if not self._ready.done():
            self._ready.set_exception(EngineMissingError(f"the {self._language} worker ended while it started"))
        turns, self._turns = list(self._turns.values()), {}
        self._slices.clear()
        for turn in turns:
            if turn.answering is not None:
                turn.answering.cancel()
            if not turn.future.done():
                turn.future.set_exception(WorkerLostError(self._how or self._ended_how(), culprit))

    def _ended_how(self) -> str:
        status = self._process.poll()
        if status is None or status >= 0:
            return "the engine ended"
        with contextlib.suppress(ValueError):
            return f"the engine ended by {signal.Signals(-status).name}"
        return f"the engine ended by signal {-status}"

    # Slices.

    def _slice(self, kind: Kind, number: int, payload: bytes) -> None:
        if self._transport is None:
            raise WireError("a frame before there is a connection")
        if not self._slices:
            self._slice_began_s, self._asked_s = self._loop.time(), 0.0
        self._slices.append(number)
        self._transport.write(wire.frame(kind, number, payload))

    def _slice_over(self, number: int) -> _Turn:
        if not self._slices or self._slices[0] != number or number not in self._turns:
            raise WireError(f"a frame of turn {number}, which does not run")
        self._slices.popleft()
        self._seen += 1
        self._slice_began_s, self._asked_s = self._loop.time(), 0.0
        return self._turns[number]

    def _received(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind is Kind.LOG:
            if not self._slices or self._slices[0] != number or number not in self._turns:
                raise WireError("a line of a turn that does not run")
            turn = self._turns[number]
            if not turn.stopped:
                turn.host.log(*messages.line(wire.load(payload)))
        elif kind is Kind.CALL:
            turn = self._slice_over(number)
            if turn.stopped:  # dropped while it ran; the worker has it no more
                del self._turns[number]
                return
            turn.answering = asyncio.create_task(self._answer(number, turn, wire.load(payload)))
        elif kind in (Kind.DONE, Kind.FAIL) and self._ready.done():
            asked = bool(self._asked_s)
            turn = self._slice_over(number)
            del self._turns[number]
            if not turn.future.done():
                self._end(turn, kind, messages.fields(payload), asked)
        elif not self._ready.done():
            self._said(kind, payload)
        else:
            raise WireError(f"a frame of kind {kind.name}")

    def _said(self, kind: Kind, payload: bytes) -> None:
        content = messages.fields(payload)
        if kind is Kind.READY:
            self._ready.set_result(printable(str(content.get("version", ""))))
        else:
            told = printable(str(content.get("message", "")), 300)
            self._ready.set_exception(EngineMissingError(f"the {self._language} worker cannot start: {told}"))

    def _end(self, turn: _Turn, kind: Kind, content: dict[str, Any], asked: bool) -> None:
        if kind is Kind.DONE:
            try:
                memory = content.get("memory", 0)
                turn.future.set_result(TurnDone(messages.result(content.get("value")), int(memory)))
            except ScriptError as e:
                turn.future.set_exception(e)
        elif content.get("reason") == "STOPPED":
            told = script_error({**content, "reason": "SCRIPT_ERROR"})
            turn.future.set_exception(_stopped(told, asked and not turn.stopped))
        else:
            turn.future.set_exception(script_error(content))

    async def _answer(self, number: int, turn: _Turn, content: Any) -> None:
        try:
            payload = await messages.answer(turn.host, content)
        except WireError as e:
            self.kill(f"it sent {e}")
            return
        except YggError as e:
            payload = messages.refusal(e)
        turn.answering = None
        if not self.lost.is_set():
            self._slice(Kind.ANSWER, number, payload)

    def _watch(self) -> None:
        """Looks at what runs. Two looks at one slice are needed: a loop that was held up has frames to read first."""
        now_s, seen = self._loop.time(), self._seen
        stuck = bool(self._slices) and now_s - self._slice_began_s > SLICE_S

        def again() -> None:
            if not stuck or not self._slices or self._seen != seen:
                self._watch()
                return
            if not self._asked_s:
                self._asked_s = self._loop.time()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGUSR1)
            elif self._loop.time() - self._asked_s > GRACE_S:
                self.kill(f"a turn computed for more than {SLICE_S:g} s and could not be interrupted")
                return
            self._watch()

        if not self.lost.is_set():
            self._tick = self._loop.call_later(TICK_S, again)


def _stopped(told: ScriptError, slice_limit: bool) -> ScriptError:
    if not slice_limit:
        return ScriptError("STOPPED", "the turn was stopped", line=told.line, traceback=told.traceback)
    return ScriptError(
        "TIMEOUT",
        f"it computed for more than {SLICE_S:g} s without a pause",
        line=told.line,
        traceback=told.traceback,
        hint="Do less in one turn, or sleep in between; other programs share the worker.",
    )
