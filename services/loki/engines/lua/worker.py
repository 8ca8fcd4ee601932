"""The loop of a Lua worker process.

Holds any number of suspended programs, runs one turn at a time, and keeps the next runtime ready while it waits.
SIGUSR1 from the service means: stop the turn that is running.
"""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Callable

from services.loki.engines import wire
from services.loki.engines.channel import Channel, Received
from services.loki.engines.lua.program import Program, Step, version
from services.loki.engines.lua.program_table import ProgramTable
from services.loki.engines.sandbox import Seal
from services.loki.engines.wire import Kind

_LEVELS = {b"debug", b"info", b"warning", b"error"}


class LuaWorker:
    """The programs of one worker process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._programs: dict[int, Program] = {}
        self._table = ProgramTable(channel, self._during, self._log)
        self._spare: Program | None = None
        self._running: Program | None = None
        self._run = 0
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Until the service is gone."""
        while True:
            if self._spare is None:
                self._spare = Program(self._log)
            self._handle(self._channel.receive())

    def interrupt(self) -> None:
        """From the thread of the signal: stops the running turn, if there is one."""
        with self._lock:
            if self._running is not None:
                self._running.stop()

    def _handle(self, message: Received) -> None:
        if message.kind is Kind.RUN:
            self._start(message.run, wire.load(message.payload))
        elif message.run not in self._programs:  # of a program that lives, or it ended while the service was writing
            self._table.handle(message)
        elif message.kind is Kind.ANSWER:
            self._turn(message.run, self._programs[message.run], message.payload)
        elif message.kind is Kind.STOP:
            self._end(message.run, Step("fail", b'{"reason":"STOPPED","message":"stopped"}'))

    def _during(self, run: int, program: Program, work: Callable[[], Step]) -> Step:
        with self._lock:
            self._running, self._run = program, run
        try:
            return work()
        finally:
            with self._lock:
                self._running = None

    def _start(self, run: int, job: dict[str, str]) -> None:
        program = self._spare or Program(self._log)
        self._spare = None
        self._programs[run] = program
        self._turn(run, program, None, job)

    def _turn(self, run: int, program: Program, answer: bytes | None, job: dict[str, str] | None = None) -> None:
        with self._lock:
            self._running, self._run = program, run
        try:
            if job is not None:
                source = job["source"].encode()
                step = program.start(job["name"], source, job["device"], job["args"].encode(), int(job["memory_bytes"]))
            else:
                step = program.resume(answer or b"")
        finally:
            with self._lock:
                self._running = None
        self._end(run, step)

    def _end(self, run: int, step: Step) -> None:
        if step.kind == "call":
            self._send(Kind.CALL, run, step.payload)
            return
        program = self._programs.pop(run)
        cpu = b'"cpu_s":%.3f' % time.process_time()
        if step.kind == "done":
            self._send(Kind.DONE, run, b'{%s,"value":%s}' % (cpu, step.payload))
        else:
            self._send(Kind.FAIL, run, b"{%s,%s" % (cpu, step.payload[1:]))
        program.close()  # after the answer: the caller need not wait for it

    def _send(self, kind: Kind, run: int, payload: bytes) -> None:
        try:
            self._channel.send(kind, run, payload)
        except wire.WireError as e:
            if run in self._programs:
                self._programs.pop(run).close()
            self._channel.send_json(Kind.FAIL, run, {"reason": "OUTPUT", "message": str(e)})

    def _log(self, level: bytes, text: bytes) -> None:
        name = (level if level in _LEVELS else b"info").decode()
        line = text[: wire.MAX_FRAME_BYTES // 8].decode(errors="replace")
        self._channel.send_json(Kind.LOG, self._run, [name, line])


def prepared(channel: Channel, seal: Seal) -> Callable[[], None]:
    """Return the serve loop of a ready and sealed worker; it ends with the service."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    worker = LuaWorker(channel)
    Program(lambda _level, _text: None).close()  # whatever loads late is loaded now

    def watch() -> None:
        while True:
            signal.sigwait({signal.SIGUSR1})
            worker.interrupt()

    seal.drop()
    threading.Thread(target=watch, daemon=True, name="interrupt").start()
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    seal.lock()

    def serve() -> None:
        channel.send_json(Kind.READY, 0, {"version": version(), "sandbox": seal.described()})
        worker.serve()

    return serve
