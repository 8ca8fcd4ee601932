"""Which command starts the workers of each language, found out when the first is to start."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

from services.chassis.threads import in_thread
from services.loki.adapters.worker import WorkerCommand
from services.loki.engines.bootstrap import MIB
from services.loki.engines.scheme import build
from services.loki.errors import EngineMissingError
from services.loki.model import MAX_LIMITS, Language

HEAP_BYTES = MAX_LIMITS.memory_bytes + 128 * MIB


class LuaCommand:
    """Lua needs the package lupa."""

    async def __call__(self) -> WorkerCommand:
        """Return the command; raise EngineMissingError."""
        if importlib.util.find_spec("lupa") is None:
            raise EngineMissingError("the Python package lupa is not installed", hint="pip install lupa")
        return WorkerCommand(Language.LUA)


class SchemeCommand:
    """Scheme needs GNU Guile 3. The compiled worker is kept under `cache`."""

    def __init__(self, cache: Path, program: str = "guile") -> None:
        self._cache, self._program = cache, program
        self._lock = asyncio.Lock()
        self._known: tuple[Path, WorkerCommand] | None = None

    async def __call__(self) -> WorkerCommand:
        """Return the command, the worker compiled; raise EngineMissingError."""
        async with self._lock:
            if self._known is None or not self._known[0].is_dir():
                self._known = await in_thread(self._prepare)
            return self._known[1]

    def _prepare(self) -> tuple[Path, WorkerCommand]:
        try:
            guile = build.find(self._program)
            folder = build.ensure(guile, self._cache)
        except build.BuildError as e:
            raise EngineMissingError(str(e), hint="Debian: apt-get install guile-3.0") from e
        except OSError as e:
            raise EngineMissingError(f"cannot compile the Scheme worker in {self._cache}: {e}") from e
        environment = (
            f"GC_MAXIMUM_HEAP_SIZE={HEAP_BYTES}",
            "GC_MARKERS=1",
            *(f"{key}={value}" for key, value in build.LOCALE.items()),
        )
        return folder, WorkerCommand(Language.SCHEME, (*environment, "--", *build.command(guile, folder)))
