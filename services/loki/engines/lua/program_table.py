"""Programs that live in a Lua worker: many runtimes, each with turns of which all but one are suspended.

Owns the programs by number and their turns. The loop, the log and the interrupt are the worker's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.loki.engines import wire
from services.loki.engines.channel import Channel, Received
from services.loki.engines.lua.program import NOTHING, Program, Step
from services.loki.engines.wire import Kind

CALLS_TO_START = 16
MEMORY_STEP_BYTES = 4096
SHARED_BYTES = 640 * 1024 * 1024  # of all programs together; the process has 1 GiB of addresses, itself included
FAIR_BYTES = 4 * 1024 * 1024  # reserved for a program even when the others have used up the shared memory
During = Callable[[int, Program, Callable[[], Step]], Step]


class ProgramTable:
    """The programs. `during` runs a piece of a turn so that it can be interrupted and its log has a number."""

    def __init__(self, channel: Channel, during: During, log: Callable[[bytes, bytes], None]) -> None:
        self._channel, self._during, self._log = channel, during, log
        self._programs: dict[int, Program] = {}
        self._turns: dict[int, tuple[int, Program]] = {}
        self._starting: dict[int, tuple[int, int]] = {}
        self._used: dict[int, int] = {}
        self._used_bytes = 0

    def handle(self, message: Received) -> None:
        """A frame that is about them; one about a turn that has ended is nothing."""
        if message.kind is Kind.EVENT:
            self._event(message.run, *wire.unpack_event(message.payload))
        elif message.kind is Kind.TURN:
            self._begin(message.run, wire.load(message.payload))
        elif message.kind is Kind.DROP:
            self._drop(message.run)
        elif message.run in self._turns:
            number, program = self._turns[message.run]
            if message.kind is Kind.ANSWER:
                self._go_on(message.run, number, program, lambda: program.resume_turn(message.run, message.payload))
            elif message.kind is Kind.STOP:
                program.drop_turn(message.run)
                self._end(message.run, number, program, Step("fail", b'{"reason":"STOPPED","message":"stopped"}'))

    def _begin(self, turn: int, job: dict[str, Any]) -> None:
        number, what = int(job["program"]), job["do"]
        if what in ("start", "check"):
            self._start(turn, number, job)
            return
        key, payload = (str(job.get(name, "")).encode("utf-8", "replace") for name in ("key", "value"))
        program = self._programs.get(number)
        if program is None:
            self._gone(turn)
        else:
            self._go_on(turn, number, program, lambda: program.turn(turn, what.encode(), key, payload))

    def _event(self, turn: int, number: int, key: bytes, payload: bytes) -> None:
        program = self._programs.get(number)
        if program is None:
            self._gone(turn)
        else:
            self._go_on(turn, number, program, lambda: program.event(turn, key, payload))

    def _gone(self, turn: int) -> None:
        self._channel.send_json(Kind.FAIL, turn, {"reason": "STOPPED", "message": "the program is gone"})

    def _start(self, turn: int, number: int, job: dict[str, Any]) -> None:
        program = Program(self._log)
        source, label = job["source"].encode(), str(job["name"])
        packages, uses = job.get("packages", ()), job.get("uses", ())
        if job["do"] == "check":
            step = self._during(turn, program, lambda: program.check(label, source, packages, uses))
            program.close()
            self._send(turn, step, 0)
            return
        self._programs[number], self._starting[number] = program, (turn, 0)
        arguments = str(job["args"]).encode()
        memory = min(int(job["memory_bytes"]), self._free(number))

        def begin() -> Step:
            failed = program.link(memory, packages, uses) if packages else None
            return failed or program.first_turn(turn, label, source, job["device"], arguments, memory)

        self._go_on(turn, number, program, begin)

    def _go_on(self, turn: int, number: int, program: Program, work: Callable[[], Step]) -> None:
        program.bound(self._free(number))
        step = self._during(turn, program, work)
        self._account(number, program.memory_used() if number in self._programs else 0)
        if step.kind != "call":
            self._end(turn, number, program, step)
        elif len(step.payload) > wire.MAX_FRAME_BYTES:
            program.drop_turn(turn)
            self._end(turn, number, program, Step("fail", b'{"reason":"OUTPUT","message":"too much at once"}'))
        else:
            self._turns[turn] = number, program
            self._channel.send(Kind.CALL, turn, step.payload)
            if number in self._starting:
                self._started(number, program, turn, over=False)

    def _free(self, number: int) -> int:
        """Return the memory limit of a program in bytes."""
        return max(FAIR_BYTES, SHARED_BYTES - self._used_bytes + self._used.get(number, 0))

    def _account(self, number: int, used_bytes: int) -> None:
        self._used_bytes += used_bytes - self._used.pop(number, 0)
        if used_bytes:
            self._used[number] = used_bytes

    def _end(self, turn: int, number: int, program: Program, step: Step) -> None:
        self._turns.pop(turn, None)
        memory = program.memory_used() if number in self._programs else 0
        if step == NOTHING and abs(memory - program.told_bytes) < MEMORY_STEP_BYTES:
            self._channel.send(Kind.DONE, turn, b"")
        else:
            program.told_bytes = memory
            self._send(turn, step, memory)
        if number in self._starting:
            self._started(number, program, turn, over=True)

    def _started(self, number: int, program: Program, turn: int, *, over: bool) -> None:
        """The first turn is over, or goes on as those do that never are."""
        first, calls = self._starting[number]
        if first == turn and (over or calls == CALLS_TO_START):
            del self._starting[number]
            program.compact()
        elif first == turn:
            self._starting[number] = first, calls + 1

    def _send(self, turn: int, step: Step, memory: int) -> None:
        head = b'{"memory":%d,' % memory
        try:
            if step.kind == "done":
                self._channel.send(Kind.DONE, turn, b'%s"value":%s}' % (head, step.payload))
            else:
                self._channel.send(Kind.FAIL, turn, head + step.payload[1:])
        except wire.WireError as e:
            self._channel.send_json(Kind.FAIL, turn, {"reason": "OUTPUT", "message": str(e)})

    def _drop(self, number: int) -> None:
        program = self._programs.pop(number, None)
        self._starting.pop(number, None)
        self._account(number, 0)
        if program is None:
            return
        for turn in [turn for turn, (owner, _) in self._turns.items() if owner == number]:
            del self._turns[turn]
        program.close()
