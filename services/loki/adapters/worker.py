"""One worker process: started, talked to, watched, stopped.

The watchdog is here: a script that does not end in time is asked to stop, and after a grace its process is killed.
Nothing that a worker sends is trusted: every frame is checked, and a breach of the protocol ends the process.

    START --READY--> IDLE --RUN--> RUNNING --DONE, FAIL--> IDLE
                                      |  deadline, output limit, cancelled: SIGUSR1, or STOP if it is suspended
                                      +--> STOPPING --FAIL(STOPPED)--> IDLE
                                               \\--anything else, or GRACE_S--> KILLED
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.domain.ids import printable
from services.domain.values import Value
from services.loki.adapters import messages
from services.loki.adapters.failure import script_error
from services.loki.adapters.frames import Frames
from services.loki.engines import bootstrap, wire
from services.loki.engines.wire import Kind, WireError
from services.loki.errors import EngineMissingError, ScriptError
from services.loki.model import Language, Script
from services.loki.ports import Host

START_TIMEOUT_S = 30.0
GRACE_S = 0.5
RETIRE_CPU_S = bootstrap.CPU_S / 2
YIELD_EVERY = 32


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How a language's workers start; `program` is empty for the engines that live in the bootstrap's own process.

    `slice_counter`: the worker holds living programs, has no limit of processor time, and counts its slices in the
    memory of this descriptor.
    """

    language: Language
    program: tuple[str, ...] = ()
    slice_counter: int | None = None

    def argv(self) -> list[str]:
        """Return the command line."""
        start = [
            sys.executable,
            "-I",
            str(Path(bootstrap.__file__)),
            self.language.value + ("" if self.slice_counter is None else f"+{self.slice_counter}"),
            str(os.getpid()),
        ]
        return [*start, *self.program]


class WorkerProcess:
    """A process with its socket. One run at a time; not usable any more once `closed` is set."""

    def __init__(self, process: subprocess.Popen[bytes], frames: Frames, language: Language) -> None:
        self._process, self._frames, self._language = process, frames, language
        self._run = 0
        self._running = self._suspended = False
        self._watchdog: asyncio.Timeout | None = None
        self._retired = False
        self.on_wait: Callable[[], None] = lambda: None
        self.version = self.sandbox = ""
        self.closed = asyncio.Event()
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    @classmethod
    async def start(cls, command: WorkerCommand) -> WorkerProcess:
        """Start a process and wait for READY; raise EngineMissingError with its message otherwise."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            process = subprocess.Popen(  # noqa: ASYNC220 - forked from the loop's thread: PR_SET_PDEATHSIG is by thread
                command.argv(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        _, frames = await asyncio.get_running_loop().create_unix_connection(Frames, sock=ours)
        worker = cls(process, frames, command.language)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await worker._ready()
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Return whether the worker can take another run."""
        idle = not self._running and not self._frames.ended
        return idle and not self.closed.is_set() and not self._retired

    @property
    def waits(self) -> bool:
        """Return whether the run sleeps or waits for the mesh; `on_wait` is called when that begins."""
        return self._running and self._suspended

    async def run(self, script: Script, host: Host) -> Value:
        """Run the script; raise ScriptError. Cancelling stops the script before CancelledError is raised."""
        self._run = (self._run + 1) % 2**32
        try:
            return await self._watched(script, host)
        except TimeoutError:
            if self.closed.is_set():
                raise self._crash(await self.kill()) from None
            raise messages.timeout(script, host, await self._stop()) from None
        except ScriptError:
            if self._running:  # past the output limit; every other failure came from the worker and ended the run
                await self._stop()
            raise
        except (EOFError, ConnectionError) as e:
            raise self._crash(await self.kill()) from e
        except WireError as e:
            await self.kill()
            raise self._crash(f"it sent {e}") from e
        except asyncio.CancelledError:
            await self._stop_shielded()
            raise
        except BaseException:
            await self.kill()
            raise

    async def _watched(self, script: Script, host: Host) -> Value:
        async with asyncio.timeout(script.limits.timeout_s) as watchdog:
            self._watchdog = watchdog
            try:
                self._send(Kind.TURN if script.check_only else Kind.RUN, messages.job(script))
                self._running, self._suspended = True, False
                return await self._converse(host)
            finally:
                self._watchdog = None

    async def kill(self) -> str:
        """Kill the process unless it has exited; return the cause of its exit in words."""
        self._abandon()
        status = await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        if status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
        return f"signal {-status}"

    def _abandon(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._frames.close()
        self._ended()

    def _ended(self) -> None:
        self.closed.set()
        if self._watchdog is not None and not self._watchdog.expired():
            self._watchdog.reschedule(0)  # the run may be waiting for the mesh, not for us
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _crash(self, how: str) -> ScriptError:
        return ScriptError("CRASH", f"the {self._language.value} engine crashed ({how}); its worker is being replaced")

    async def _ready(self) -> None:
        name = f"the {self._language.value} worker"
        try:
            kind, _, payload = await self._frames.receive()
            content = wire.load(payload)
        except (EOFError, ConnectionError) as e:
            raise EngineMissingError(f"{name} ended while it started") from e
        except WireError as e:
            raise EngineMissingError(f"{name} sent {e}") from e
        if kind is not Kind.READY or not isinstance(content, dict):
            message = content.get("message", "") if isinstance(content, dict) else ""
            raise EngineMissingError(f"{name} cannot start: {printable(str(message), 300)}")
        self.version = printable(str(content.get("version", "")))
        self.sandbox = printable(str(content.get("sandbox", "")))

    async def _converse(self, host: Host) -> Value:
        count = 0
        while True:
            kind, run, payload = await self._frames.receive()
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # a flood that is in the buffer already must not keep the loop
            if run != self._run:
                raise WireError(f"a frame of run {run}")
            content = wire.load(payload)
            if kind is Kind.LOG:
                host.log(*messages.line(content))
            elif kind is Kind.CALL:
                self._suspended = True
                self.on_wait()
                answer = await messages.answer(host, content)
                self._suspended = False
                self._write(Kind.ANSWER, answer)
            elif kind is Kind.DONE:
                self._finished(messages.object_of(content))
                host.spend_output(len(payload))
                return messages.result(content.get("value"))
            elif kind is Kind.FAIL:
                self._finished(messages.object_of(content))
                raise script_error(content)
            else:
                raise WireError(f"a frame of kind {kind.name}")

    def _finished(self, content: dict[str, Any]) -> None:
        self._running = False
        cpu_s = content.get("cpu_s", 0)
        self._retired = content.get("retire") is True or not isinstance(cpu_s, int | float) or cpu_s > RETIRE_CPU_S

    async def _stop_shielded(self) -> None:
        stopping = asyncio.ensure_future(self._stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            self._abandon()
            raise

    async def _stop(self) -> tuple[int, str]:
        """Stop the run, or kill the process if it does not stop; return its last line and traceback.

        A suspended run is dropped by a STOP; one that computes is interrupted by a signal. A signal names no run, so a
        process is used again only if the signal is known to have ended the run.
        """
        try:
            if self._suspended:
                self._send(Kind.STOP, {})
            else:
                os.kill(self._process.pid, signal.SIGUSR1)
            async with asyncio.timeout(GRACE_S):
                kind, payload = await self._after_logs()
            content = messages.fields(payload)
            if kind is Kind.FAIL and content.get("reason") == "STOPPED":
                self._finished(content)
                error = script_error({**content, "reason": "SCRIPT_ERROR"})
                return error.line, error.traceback
        except (TimeoutError, EOFError, ConnectionError, ProcessLookupError, WireError):
            pass
        await self.kill()
        return 0, ""

    async def _after_logs(self) -> tuple[Kind, bytes]:
        while True:
            kind, _, payload = await self._frames.receive()
            if kind is not Kind.LOG:
                return kind, payload

    def _send(self, kind: Kind, content: Any) -> None:
        self._write(kind, wire.dump(content))

    def _write(self, kind: Kind, payload: bytes) -> None:
        self._frames.send(kind, self._run, payload)
