"""The use cases: run a script, list the languages. Owns neither processes (`adapters.pool`) nor protos (`api`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from services.loki.errors import ScriptError
from services.loki.host import RunHost
from services.loki.lint.lua_tokens import last_return
from services.loki.model import EngineStatus, Language, LogEntry, Outcome, Script
from services.loki.ports import Clock, Engine, Mesh, Publisher


class Loki:
    """Runs scripts."""

    def __init__(
        self,
        engines: Mapping[Language, Engine],
        mesh: Mesh,
        publisher: Publisher,
        clock: Clock,
        host: type[RunHost] = RunHost,
    ) -> None:
        self._engines, self._mesh, self._publisher, self._clock, self._host = engines, mesh, publisher, clock, host

    async def execute(self, script: Script, emit: Callable[[LogEntry], None]) -> Outcome:
        """Run a script; `emit` receives each log line. Raise ScriptError, EngineMissingError or EngineBusyError.

        The time limit starts with the script, not with the wait for a worker. Cancelling stops the script.
        """
        async with self._engines[script.language].worker() as worker:
            host = self._host(script, self._mesh, self._publisher, self._clock, emit)
            start = self._clock.monotonic()
            try:
                value = await worker.run(script, host)
            except ScriptError as e:
                if not e.line and script.language is Language.LUA and e.reason not in ("SYNTAX", "MEMORY", "TIMEOUT"):
                    e.line = last_return(script.source)  # a call in tail position and a result leave no frame behind
                raise
            return Outcome(value, self._clock.monotonic() - start, host.calls, tuple(host.dropped.values()))

    def engines(self) -> Sequence[EngineStatus]:
        """Return every language, whether or not it can run here."""
        return [engine.status() for engine in self._engines.values()]
