"""A session with an engine: texts evaluated in order with persistent globals, in a separate worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from services.domain.values import Value
from services.loki import model
from services.loki.engines import wire
from services.loki.errors import EngineBusyError, ScriptError
from services.loki.host import RunHost
from services.loki.model import Language, Level, Limits, LogEntry
from services.loki.ports import Clock, Mesh, Publisher
from services.loki.programs.ports import ProgramWorker

MAX_CONVERSATIONS = 4
TEXT_LIMITS = Limits(timeout_s=30.0)
_PROGRAM = 1
MakeHost: TypeAlias = Callable[[Callable[[LogEntry], None]], RunHost]


class _TextHost(RunHost):
    """The host of one text. Its log is truncated at the limit: a failure would hide the effects of the text."""

    def log(self, level: Level, text: str) -> None:
        """Log a line unless the limit is reached."""
        with contextlib.suppress(ScriptError):
            super().log(level, text)


class Conversation:
    """One of them."""

    def __init__(
        self, script: model.Script, worker: ProgramWorker, host: Callable[[Callable[[LogEntry], None]], RunHost]
    ) -> None:
        self._script, self._worker, self._host = script, worker, host

    async def begin(self) -> None:
        """Create the globals."""
        job = {
            "do": "start",
            "name": self._script.name,
            "source": "",
            "device": self._script.device_id,
            "args": wire.dump(wire.to_json({})).decode(),
            "memory_bytes": self._script.limits.memory_bytes,
        }
        await self._worker.turn(_PROGRAM, job, self._host(lambda _: None))[1]

    async def evaluate(self, source: str, emit: Callable[[LogEntry], None]) -> Value:
        """Return the text's result; raise ScriptError, or WorkerLostError if the globals are lost, too."""
        number, future = self._worker.turn(_PROGRAM, {"do": "eval", "key": source, "value": ""}, self._host(emit))
        try:
            async with asyncio.timeout(TEXT_LIMITS.timeout_s):
                return (await asyncio.shield(future)).value
        except TimeoutError:
            self._worker.stop_turn(number)
            raise ScriptError("TIMEOUT", f"it did not end within {TEXT_LIMITS.timeout_s:g} s") from None


class Repl:
    """Opens conversations, at most MAX_CONVERSATIONS at once."""

    def __init__(
        self,
        start: Callable[[Language], Awaitable[ProgramWorker]],
        mesh: Mesh,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self._start, self._mesh, self._publisher, self._clock = start, mesh, publisher, clock
        self._open = 0

    @asynccontextmanager
    async def conversation(self, language: Language, device_id: str) -> AsyncIterator[Conversation]:
        """Return a worker with empty globals, ended with the block. Raise EngineBusyError or EngineMissingError."""
        if self._open >= MAX_CONVERSATIONS:
            raise EngineBusyError(
                f"{self._open} conversations are open already", hint="Try again later, or on another replica."
            )
        script = model.script("-", language, name="repl", device_id=device_id, limits=TEXT_LIMITS)

        def host(emit: Callable[[LogEntry], None]) -> RunHost:
            return _TextHost(script, self._mesh, self._publisher, self._clock, emit)

        self._open += 1
        try:
            worker = await self._start(language)
            try:
                found = Conversation(script, worker, host)
                await found.begin()
                yield found
            finally:
                await worker.close()
        finally:
            self._open -= 1
