"""One worker process of many programs: sends turns, answers their host calls, and kills a worker that does not yield.

`slices` knows which program runs, and so which one crashed the worker. Frames of one loop iteration share one write.

    slice    --CALL--> its turn waits for the host; ANSWER makes another slice
             --DONE, FAIL--> its turn has ended
             no end within SLICE_S: SIGUSR1;  nor within GRACE_S more: SIGKILL

SLICE_S is processor time, so that a slice on a busy machine is not penalised. MAX_SLICE_WALL_S is wall-clock
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from services.domain.errors import YggError
from services.domain.ids import printable
from services.loki.adapters import messages
from services.loki.adapters.failure import script_error
from services.loki.adapters.slices import Slices
from services.loki.adapters.worker import START_TIMEOUT_S, WorkerCommand
from services.loki.engines import wire
from services.loki.engines.slice_counter import SliceCounter
from services.loki.engines.slice_counter import create as create_slice_counter
from services.loki.engines.wire import Kind, WireError
from services.loki.errors import EngineMissingError, ScriptError
from services.loki.programs.errors import WorkerLostError
from services.loki.programs.ports import TurnDone, TurnEnd, TurnEnded, TurnHost

SLICE_S, MAX_SLICE_WALL_S = 1.0, 3.0
GRACE_S = 0.5
TICK_S = 0.2
_NOTHING = TurnDone(None)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Turn:
    program: int
    host: TurnHost
    ended: TurnEnded
    answering: asyncio.Task[None] | None = None
    stopped: bool = False
    is_ended: bool = False

    def end(self, end: TurnEnd) -> None:
        """Record the end of the turn; later calls have no effect."""
        if self.is_ended:
            return
        self.is_ended = True
        try:
            self.ended(end)
        except Exception:  # noqa: BLE001 - else one program's fault would end the worker of all
            _log.exception("the end of a turn was not taken", extra={"program": self.program})


class LiveWorker(asyncio.Protocol):
    """Implements the port ProgramWorker."""

    def __init__(self, process: subprocess.Popen[bytes], language: str, slice_counter: SliceCounter) -> None:
        self._process, self._language = process, language
        self._transport: asyncio.Transport | None = None
        self._in, self._out = bytearray(), bytearray()
        self._turns: dict[int, _Turn] = {}
        self._slices = Slices(slice_counter)
        self._asked, self._asked_s = 0, 0.0
        self._cpu_s = 0.0
        self._number = 0
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[str] = self._loop.create_future()
        self._tick: asyncio.TimerHandle | None = None
        self._how = ""
        self.lost = asyncio.Event()
        self.programs: set[int] = set()
        self.crashed_by = 0

    @classmethod
    async def start(cls, command: WorkerCommand) -> LiveWorker:
        """Start a process and wait for READY; raise EngineMissingError with its message otherwise."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        counter = create_slice_counter()
        with theirs, os.fdopen(counter):
            shared = SliceCounter(counter)
            process = subprocess.Popen(  # noqa: ASYNC220 - forked from the loop's thread: PR_SET_PDEATHSIG is by thread
                dataclasses.replace(command, slice_counter=counter).argv(),
                stdin=theirs.fileno(),
                pass_fds=(counter,),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        worker = cls(process, command.language.value, shared)
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
        """Return the process id."""
        return self._process.pid

    def begin(self, program: int, request: dict[str, Any], host: TurnHost, ended: TurnEnded) -> int:
        """Implement ports.ProgramWorker."""
        return self._begin(Kind.TURN, wire.dump({"program": program, **request}), _Turn(program, host, ended))

    def event(self, program: int, key: str, value: str, host: TurnHost, ended: TurnEnded) -> int:
        """Implement ports.ProgramWorker."""
        return self._begin(Kind.EVENT, wire.event(program, key, value), _Turn(program, host, ended))

    def turn(self, program: int, request: dict[str, Any], host: TurnHost) -> tuple[int, asyncio.Future[TurnDone]]:
        """Implement ports.ProgramWorker."""
        future: asyncio.Future[TurnDone] = self._loop.create_future()

        def ended(end: TurnEnd) -> None:
            if not future.done():
                future.set_result(end) if isinstance(end, TurnDone) else future.set_exception(end)

        return self.begin(program, request, host, ended), future

    def _begin(self, kind: Kind, payload: bytes, turn: _Turn) -> int:
        self._number = self._number % 0xFFFFFFFF + 1
        if self.lost.is_set() or self._transport is None:
            lost = WorkerLostError(self._how or "it is gone")
            self._loop.call_soon(turn.end, lost)
            return self._number
        self._turns[self._number] = turn
        self._slice(kind, self._number, payload)
        return self._number

    def stop_turn(self, number: int) -> bool:
        """Drop a turn that waits for the host; return False if it does not wait: the slice has its own limit."""
        turn = self._turns.get(number)
        if turn is None or turn.answering is None:
            return False
        turn.answering.cancel()
        turn.answering, turn.stopped = None, True
        self._slice(Kind.STOP, number, b"{}")
        return True

    def drop(self, program: int) -> None:
        """Remove a program; its turns end as stopped."""
        self.programs.discard(program)
        for number, turn in [(n, t) for n, t in self._turns.items() if t.program == program]:
            if turn.answering is not None:
                turn.answering.cancel()
                turn.answering = None
            if number not in self._slices:
                del self._turns[number]
            turn.stopped = True
            turn.end(ScriptError("STOPPED", "the program was stopped"))
        self._write(wire.frame(Kind.DROP, program, b"{}"))

    def kill(self, how: str) -> None:
        """Kill the process."""
        self._how = self._how or how
        if self._process.poll() is None:
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Kill the process and wait for its exit."""
        self.kill("the service stops")
        await self._loop.run_in_executor(None, self._process.wait)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Process frames; kill the process on a protocol violation."""
        buffer = self._in
        buffer += data
        at, size, end = 0, wire.HEADER.size, len(buffer)
        try:
            while end - at >= size:
                kind, run, length = wire.unpack_header(buffer, at)
                if end - at - size < length:
                    break
                self._received(kind, run, bytes(buffer[at + size : at + size + length]))
                at += size + length
        except WireError as e:
            self.kill(f"it sent {e}")
        del buffer[:at]

    def connection_lost(self, _exc: Exception | None) -> None:
        """End all turns: the process has exited or is exiting."""
        if self.lost.is_set():
            return
        self.lost.set()
        if self._tick is not None:
            self._tick.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._loop.run_in_executor(None, self._process.wait)
        running = self._turns.get(self._slices.running())
        crashed_by = self.crashed_by = running.program if running else 0
        if not self._ready.done():
            self._ready.set_exception(EngineMissingError(f"the {self._language} worker ended while it started"))
        turns, self._turns = list(self._turns.values()), {}
        self._slices.clear()
        for turn in turns:
            if turn.answering is not None:
                turn.answering.cancel()
            turn.end(WorkerLostError(self._how or self._ended_how(), crashed_by))

    def _ended_how(self) -> str:
        status = self._process.poll()
        if status is None or status >= 0:
            return "the engine ended"
        with contextlib.suppress(ValueError):
            return f"the engine ended by {signal.Signals(-status).name}"
        return f"the engine ended by signal {-status}"

    # Slices.

    def _slice(self, kind: Kind, number: int, payload: bytes) -> None:
        self._slices.begin(number)
        self._write(wire.frame(kind, number, payload))

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += data

    def _flush(self) -> None:
        out, self._out = self._out, bytearray()
        if self._transport is not None and not self.lost.is_set():
            self._transport.write(out)

    def _slice_over(self, number: int) -> tuple[_Turn, bool]:
        """Its turn, and whether it was asked to stop."""
        self._slices.over(number)
        if number not in self._turns:
            raise WireError(f"a frame of turn {number}, which there is not")
        asked = self._asked == number
        if asked:
            self._asked = 0
        return self._turns[number], asked

    def _received(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind is Kind.DONE or (kind is Kind.FAIL and self._ready.done()):
            turn, asked = self._slice_over(number)
            del self._turns[number]
            if not turn.is_ended:
                turn.end(_end(kind, payload, asked=asked and not turn.stopped))
        elif kind is Kind.CALL:
            turn, _ = self._slice_over(number)
            if turn.stopped:  # dropped while it ran; the worker has it no more
                del self._turns[number]
                return
            turn.answering = asyncio.create_task(self._answer(number, turn, wire.load(payload)))
        elif kind is Kind.LOG:
            self._slices.first(number)
            turn = self._turns[number]
            if not turn.stopped:
                turn.host.log(*messages.line(wire.load(payload)))
        elif not self._ready.done():
            self._said(kind, payload)
        else:
            raise WireError(f"a frame of kind {kind.name}")

    def _said(self, kind: Kind, payload: bytes) -> None:
        content = messages.fields(payload)
        if kind is Kind.READY:
            self._ready.set_result(printable(str(content.get("version", ""))))
        else:
            message = printable(str(content.get("message", "")), 300)
            self._ready.set_exception(EngineMissingError(f"the {self._language} worker cannot start: {message}"))

    async def _answer(self, number: int, turn: _Turn, content: Any) -> None:
        try:
            payload = await messages.answer(turn.host, content)
        except WireError as e:
            self.kill(f"it sent {e}")
            return
        except YggError as e:
            payload = messages.refusal(e)
        if turn.stopped:  # Python 3.11's wait_for may swallow the cancellation where its answer is there already
            return
        turn.answering = None
        if not self.lost.is_set():
            self._slice(Kind.ANSWER, number, payload)

    def _watch(self) -> None:
        """Check the running slice every TICK_S."""
        if self.lost.is_set():
            return
        now_s, running = self._loop.time(), self._slices.running()
        computes_s = self._slices.computes_s(now_s)
        if running and not computes_s:  # seen for the first time
            self._cpu_s = self._cpu_used_s()
        if computes_s > MAX_SLICE_WALL_S or (computes_s > SLICE_S and self._cpu_used_s() - self._cpu_s > SLICE_S):
            if self._asked != running:
                self._asked, self._asked_s = running, now_s
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGUSR1)
            elif now_s - self._asked_s > GRACE_S:
                self.kill(f"a turn computed for more than {SLICE_S:g} s and could not be interrupted")
                return
        self._tick = self._loop.call_later(TICK_S, self._watch)

    def _cpu_used_s(self) -> float:
        """Return the processor time of the process in seconds (proc(5): utime and stime), 0 if it is unknown."""
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()  # in memory: it does not block
        except OSError:
            return 0.0
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _end(kind: Kind, payload: bytes, *, asked: bool) -> TurnDone | YggError:
    if not payload and kind is Kind.DONE:
        return _NOTHING
    content = messages.fields(payload)
    if kind is Kind.DONE:
        try:
            return TurnDone(messages.result(content.get("value")), int(content.get("memory", 0)))
        except ScriptError as e:
            return e
    if content.get("reason") == "STOPPED":
        return _stopped(script_error({**content, "reason": "SCRIPT_ERROR"}), asked)
    return script_error(content)


def _stopped(error: ScriptError, slice_limit: bool) -> ScriptError:
    if not slice_limit:
        return ScriptError("STOPPED", "the turn was stopped", line=error.line, traceback=error.traceback)
    return ScriptError(
        "TIMEOUT",
        f"it computed for more than {SLICE_S:g} s without a pause",
        line=error.line,
        traceback=error.traceback,
        hint="Do less in one turn, or sleep in between; other programs share the worker.",
    )
