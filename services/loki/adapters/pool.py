"""The workers of one language: processes that are replaced when they end, and a bounded queue.

`size` of them compute at the same time. A run that sleeps or waits for the mesh keeps its process, so another one
starts when a run is queued meanwhile, up to `max_size` in all; those beyond `size` end after IDLE_S without a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from services.loki.adapters.worker import WorkerCommand, WorkerProcess
from services.loki.errors import EngineBusyError, EngineMissingError
from services.loki.model import EngineStatus, Language

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.2, 10.0
IDLE_S = 60.0  # a process costs some 0.2 s of a core to start and 20 to 60 MB to keep
_log = logging.getLogger(__name__)
Prepare = Callable[[], Awaitable[WorkerCommand]]


class WorkerPool:
    """Leases workers. `maintain` must run while the pool is used."""

    def __init__(
        self,
        language: Language,
        prepare: Prepare,
        *,
        size: int,
        queue: int,
        queue_wait_s: float,
        max_size: int = 0,
        idle_s: float = IDLE_S,
    ) -> None:
        """`prepare` finds the engine and raises EngineMissingError; `queue` bounds the runs that wait for a worker."""
        self.language = language
        self._prepare, self._size, self._max_size = prepare, size, max(size, max_size)
        self._queue, self._queue_wait_s, self._idle_s = queue, queue_wait_s, idle_s
        self._idle: deque[tuple[WorkerProcess, float]] = deque()  # and since when; the last one used is the last
        self._waiting: deque[asyncio.Future[WorkerProcess]] = deque()
        self._alive: set[WorkerProcess] = set()
        self._slots = self._starting = self._restarts = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._shrinking: asyncio.TimerHandle | None = None
        self._version = self._sandbox = ""
        self._problem: EngineMissingError | None = None
        self._settled = asyncio.Event()

    async def maintain(self) -> None:
        """Keep `size` workers up until cancelled, then end them. The backoff grows while none can start."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for _ in range(self._size):
                    self._add_slot()
        finally:
            self._tasks = None
            if self._shrinking is not None:
                self._shrinking.cancel()

    async def settled(self) -> None:
        """Return once all workers are up, or the language is known not to run here."""
        await self._settled.wait()

    def status(self) -> EngineStatus:
        """Return whether scripts can run now."""
        problem = self._problem.message if self._problem and not self._alive else ""
        if problem and self._problem and self._problem.hint:
            problem = f"{problem}. {self._problem.hint}"
        return EngineStatus(
            self.language,
            self._version,
            bool(self._alive),
            problem,
            len(self._alive),
            self._sandbox,
            desired=self._size,
            busy=len(self._alive) - len(self._idle),
            restarts=self._restarts,
        )

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[WorkerProcess]:
        """Return a worker for one run; raise EngineMissingError or EngineBusyError."""
        leased = await self._lease()
        leased.on_wait = self._grow
        try:
            yield leased
        finally:
            if leased.usable:
                self._offer(leased)
            else:
                leased.closed.set()

    def workers(self) -> list[WorkerProcess]:
        """Return the running workers."""
        return list(self._alive)

    async def _lease(self) -> WorkerProcess:
        while self._idle:
            worker, _ = self._idle.pop()
            if worker.usable:
                return worker
            worker.closed.set()
        if self._problem and not self._alive:
            raise self._problem
        if len(self._waiting) >= self._queue:
            raise EngineBusyError(
                f"all {len(self._alive)} {self.language.value} workers are busy and {self._queue} runs wait already",
                hint="Try again in a moment, or run more workers or replicas.",
            )
        return await self._wait()

    async def _wait(self) -> WorkerProcess:
        turn: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._grow()
        try:
            async with asyncio.timeout(self._queue_wait_s):
                return await turn
        except BaseException as e:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._offer(turn.result())  # it came in the same moment as the end of our patience
            if not isinstance(e, TimeoutError):
                raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(turn)
        raise EngineBusyError(
            f"no {self.language.value} worker was free within {self._queue_wait_s:g} s",
            hint="Try again in a moment, or run more workers or replicas.",
        )

    def _offer(self, worker: WorkerProcess) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(worker)
                return
        self._idle.append((worker, asyncio.get_running_loop().time()))
        self._shrink_later()

    # More processes while runs wait for the mesh, and fewer again.

    def _grow(self) -> None:
        """Start a process for each queued run while fewer than `size` processes compute or are about to."""
        computing = self._starting + sum(not worker.waits for worker in self._alive)
        for _ in range(min(len(self._waiting) - self._starting, self._size - computing, self._max_size - self._slots)):
            self._add_slot()

    def _add_slot(self) -> None:
        if self._tasks is not None:
            self._slots += 1
            self._starting += 1
            self._tasks.create_task(self._slot())

    def _shrink_later(self) -> None:
        if self._slots > self._size and self._idle and self._shrinking is None:
            when_s = self._idle[0][1] + self._idle_s
            self._shrinking = asyncio.get_running_loop().call_at(when_s, self._shrink)

    def _shrink(self) -> None:
        self._shrinking = None
        if self._slots > self._size and self._idle:
            worker, since_s = self._idle[0]
            if asyncio.get_running_loop().time() - since_s >= self._idle_s:
                self._idle.popleft()
                worker.closed.set()
        self._shrink_later()

    async def _slot(self) -> None:
        backoff_s, starting = MIN_BACKOFF_S, True  # already counted when the slot was added
        try:
            while True:
                try:
                    worker = await WorkerProcess.start(await self._prepare())
                except (EngineMissingError, TimeoutError, OSError) as e:
                    self._fail(e)
                    if self._slots > self._size:
                        return
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
                    continue
                backoff_s, starting = MIN_BACKOFF_S, False
                self._starting -= 1
                await self._use(worker)
                if self._slots > self._size and not self._waiting:
                    return
                self._restarts += 1
                self._starting, starting = self._starting + 1, True
        finally:
            self._slots -= 1
            self._starting -= starting

    async def _use(self, worker: WorkerProcess) -> None:
        self._version, self._sandbox, self._problem = worker.version, worker.sandbox, None
        self._alive.add(worker)
        if len(self._alive) >= self._size:
            self._settled.set()
        self._offer(worker)
        try:
            await worker.closed.wait()
        finally:
            self._alive.discard(worker)
            self._idle = deque(each for each in self._idle if each[0] is not worker)
            await asyncio.shield(worker.kill())

    def _fail(self, error: BaseException) -> None:
        problem = error if isinstance(error, EngineMissingError) else EngineMissingError(f"its worker: {error}")
        if self._problem is None or self._problem.message != problem.message:
            _log.warning("engine does not start", extra={"language": self.language.value, "why": problem.message})
        self._problem = problem
        self._settled.set()
        while self._waiting and not self._alive:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(problem)
