"""Which worker an instance is in: few workers hold many, one that brought a worker down has one to itself.

Owns the worker processes of programs. They are started when first needed; an idle replica has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from services.domain.errors import YggError
from services.loki.errors import EngineBusyError, EngineMissingError
from services.loki.model import Language, ProgramWorkersStatus
from services.loki.programs import links
from services.loki.programs.errors import WorkerLostError
from services.loki.programs.instance import Instance
from services.loki.programs.lifecycle import State
from services.loki.programs.model import Package
from services.loki.programs.null_host import NullHost
from services.loki.programs.ports import ProgramWorker, StartWorker

SPREAD = 32
"""A second worker is started once the first one holds this many."""
MOST = {Language.LUA: 4000, Language.SCHEME: 1000}
MAX_QUARANTINED = 16
_log = logging.getLogger(__name__)


class ProgramWorkers:
    """Places instances. `size` is how many workers of each language are shared before they are filled beyond MOST."""

    def __init__(self, start: StartWorker, size: int) -> None:
        self._start, self._size = start, size
        self._shared: dict[Language, list[ProgramWorker]] = {language: [] for language in Language}
        self._alone: dict[ProgramWorker, Language] = {}
        self._instances: dict[int, Instance] = {}
        self._starting: dict[Language, asyncio.Lock] = {language: asyncio.Lock() for language in Language}
        self._tasks: set[asyncio.Task[None]] = set()
        self._checkers: dict[Language, ProgramWorker] = {}
        self._restarts = dict.fromkeys(Language, 0)

    def place(self, instance: Instance) -> None:
        """Finds a worker; the instance hears of it by `placed` or `not_placed`."""
        self._instances[instance.number] = instance
        if not instance.quarantined and (worker := self._free(instance.package.manifest.language)) is not None:
            instance.placed(worker)
            return
        self._spawn(self._place(instance))

    def remove(self, instance: Instance) -> None:
        """Remove an instance that will not run again."""
        self._instances.pop(instance.number, None)

    def pids(self) -> list[int]:
        """Return the process ids of all workers."""
        return [worker.pid for worker in self._workers()]

    def status(self, language: Language) -> ProgramWorkersStatus:
        """Return the running and desired workers: waiting programs share one, a quarantined program has its own."""
        shared = sum(not worker.lost.is_set() for worker in self._shared[language])
        alone = sum(each is language and not worker.lost.is_set() for worker, each in self._alone.items())
        wait = [instance.quarantined for instance in self._instances.values() if _waits(instance, language)]
        desired = max(shared, int(False in wait)) + alone + sum(wait)
        return ProgramWorkersStatus(shared + alone, desired, self._restarts[language])

    async def close(self) -> None:
        """Kill all workers."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self._workers()), return_exceptions=True)

    async def check(self, package: Package, packages: Sequence[Package] = ()) -> None:
        """Check that a package compiles with its packages, in a worker without programs.

        Raise ScriptError (SYNTAX, TIMEOUT, …).
        """
        language = package.manifest.language
        async with self._starting[language]:
            worker = self._checkers.get(language)
            if worker is None or worker.lost.is_set():
                worker = self._checkers[language] = await self._start(language)
        job = {"do": "check", "name": package.label, "source": package.source, **links.job(package, packages)}
        _, future = worker.turn(1, job, NullHost())
        try:
            await future
        except WorkerLostError as e:
            raise EngineBusyError(f"the package could not be checked: {e.how}", hint="Make it smaller.") from e

    def _workers(self) -> Iterator[ProgramWorker]:
        for workers in self._shared.values():
            yield from workers
        yield from self._alone
        yield from self._checkers.values()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _free(self, language: Language) -> ProgramWorker | None:
        workers = [worker for worker in self._shared[language] if not worker.lost.is_set()]
        if not workers:
            return None
        least = min(workers, key=lambda worker: len(worker.programs))
        if len(workers) < self._size and len(least.programs) >= SPREAD:
            return None
        return least if len(least.programs) < MOST[language] else None

    async def _place(self, instance: Instance) -> None:
        language = instance.package.manifest.language
        try:
            worker = await (self._quarantine(language) if instance.quarantined else self._share(language))
        except (YggError, OSError, TimeoutError) as e:
            error = e if isinstance(e, YggError) else EngineMissingError(f"its worker does not start: {e}")
            _log.warning("program is not placed", extra={"program": instance.ref.key, "why": error.message})
            instance.not_placed(error)
            return
        instance.placed(worker)
        if instance.worker is not worker and not worker.programs and worker in self._alone:
            worker.kill("unused")

    async def _share(self, language: Language) -> ProgramWorker:
        async with self._starting[language]:
            if (worker := self._free(language)) is not None:
                return worker
            worker = await self._start(language)
            self._shared[language].append(worker)
            self._spawn(self._watch(worker, language))
            return worker

    async def _quarantine(self, language: Language) -> ProgramWorker:
        for worker in tuple(self._alone):
            if not worker.programs:
                worker.kill("unused")
        if len([worker for worker in self._alone if worker.programs]) >= MAX_QUARANTINED:
            raise EngineBusyError(
                f"{MAX_QUARANTINED} programs have a worker to themselves already", hint="It waits for one."
            )
        worker = await self._start(language)
        self._alone[worker] = language
        self._spawn(self._watch(worker, language))
        return worker

    async def _watch(self, worker: ProgramWorker, language: Language) -> None:
        await worker.lost.wait()
        self._alone.pop(worker, None)
        with contextlib.suppress(ValueError):
            self._shared[language].remove(worker)
        self._restarts[language] += bool(worker.programs)
        _log.warning("worker of programs ended", extra={"pid": worker.pid, "programs": len(worker.programs)})
        numbers = sorted(worker.programs, key=self._priority)
        for number in numbers:
            instance = self._instances.get(number)
            if instance is not None:
                instance.worker_gone(crashed=number == worker.crashed_by)

    def _priority(self, number: int) -> int:
        instance = self._instances.get(number)
        return -instance.package.manifest.priority if instance else 0


def _waits(instance: Instance, language: Language) -> bool:
    starts = instance.state is State.STARTING and instance.worker is None
    return starts and instance.package.manifest.language is language
