"""One Lua program in a separate runtime: started, suspended at host operations, resumed, stopped.

Owns the border between Python and Lua. Only bytes and numbers cross it: the script sees no object of Python, and
the functions given to the prelude return nothing but strings and numbers. Source: lupa; Lua 5.4 manual, 4.7 and 6.10.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lupa import lua54

from services.loki.engines import wire

_HERE = Path(__file__).parent
_COMPILE = b"local text, name = ... return string.dump(assert(load(text, name, 't')), true)"
_MASK_COUNT = 8
_SLACK_BYTES = 64 * 1024
CHECK_BYTES = 64 * 1024 * 1024
_NO_ROOM = re.compile(r"not enough memory|stack overflow")  # the latter if a stack cannot grow


class Step(NamedTuple):
    """The end of a slice: `call` (payload of a CALL), `done` (the value) or `fail` (the failure), as JSON."""

    kind: str
    payload: bytes


NOTHING = Step("done", b"null")
_CANNOT_WAIT = wire.dump(
    [
        False,
        wire.to_json(
            {
                "status": "FAILED_PRECONDITION",
                "reason": "CANNOT_WAIT_HERE",
                "message": "operations of the host cannot be called from within a metamethod that a library calls "
                "(such as __tostring) or a __close that coroutine.close calls",
                "hint": "Call them before or after, or in the script's own code.",
            }
        ),
    ]
)
_REPORT_BYTES = 256 * 1024  # set aside for the report of a failure: some 40 lines of a traceback, a message of 4 KiB


def _no_attributes(_object: Any, _name: Any, _setting: bool) -> Any:
    raise AttributeError("nothing of Python is for scripts")


def _hooks() -> ctypes.CDLL | None:
    """lua_gethook and lua_sethook of the library that lupa runs; None in a build that hides them.

    lua_sethook may be called while Lua runs (manual of lua_sethook; lua.c does so in a signal handler). Without it a
    script that loops for ever is not stopped but killed with its worker.
    """
    try:
        library = ctypes.CDLL(lua54.__file__)
        library.lua_gethook.restype = ctypes.c_void_p
        library.lua_gethook.argtypes = [ctypes.c_void_p]
        library.lua_sethook.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return library


_HOOKS = _hooks()


def version() -> str:
    """Such as `Lua 5.4.7`, as the library says (`lua_ident` of lapi.c)."""
    if _HOOKS:
        ident = (ctypes.c_char * 64).in_dll(_HOOKS, "lua_ident").value.decode(errors="replace")
        found = re.search(r"Lua \d+\.\d+\.\d+", ident)
        if found:
            return found[0]
    return "Lua 5.4"


def _failure(
    reason: bytes, message: bytes, line: int = 0, trace: bytes = b"", status: bytes = b"", hint: bytes = b""
) -> Step:
    texts = {"reason": reason, "message": message, "traceback": trace, "status": status, "hint": hint}
    fields = {name: text.decode(errors="replace") for name, text in texts.items()}
    return Step("fail", wire.dump({**fields, "line": line}))


def _compiled(name: str) -> bytes:
    """A chunk of ours as bytecode, compiled once a process: most of the time to a fresh runtime was parsing them."""
    compile_chunk = lua54.LuaRuntime(encoding=None, register_eval=False, register_builtins=False).compile(_COMPILE)
    code: bytes = compile_chunk((_HERE / name).read_bytes(), f"={name}".encode())
    return code


_PRELUDE = _compiled("prelude.lua")
_NAMES = (
    "callbacks closing coroutines devices failures guards inspect json live members packages printing store testing"
)
_PARTS = {name.encode(): _compiled(f"{name}.lua") for name in _NAMES.split()}


class Program:
    """A fresh runtime, ready for one script."""

    def __init__(self, log: Callable[[bytes, bytes], None]) -> None:
        """`log` sends a line; it must not raise."""
        self._log = log
        self._limit = self._cap = 0
        self._stop = False
        self._lock = threading.Lock()
        self._thread = self._hook = 0
        self._runtime: Any = lua54.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
            max_memory=0,
        )
        prelude = self._runtime.compile(_PRELUDE)
        self._start, self._step, self._report, *self._live = prelude(
            self._refuse, self._write, self._stopped, self._settle, self._part
        )
        self._threads: dict[int, tuple[int, int]] = {}
        self.told_bytes = 0
        self._idle: tuple[int, int] | None = None

    def start(self, label: str, source: bytes, device: str, arguments: bytes, memory_bytes: int) -> Step:
        """Load and run the script. `memory_bytes` is its limit beyond the libraries."""
        self._limit = self._cap = memory_bytes
        self._settle()
        self._lift(len(source) + len(arguments))
        loaded = self._turn(self._start, label.encode(), source, device.encode(), arguments)
        if loaded.kind != "thread":
            return loaded
        self._arm(int(loaded.payload.rpartition(b"0x")[2], 16))
        return self._turn(self._step)

    def resume(self, answer: bytes) -> Step:
        """Goes on with the answer (JSON) to the operation that it was suspended at."""
        self._lift(len(answer))
        return self._turn(self._step, answer)

    def link(self, memory_bytes: int, packages: Sequence[Mapping[str, Any]], uses: Sequence[str]) -> Step | None:
        """Compile the linked packages (services/loki/programs/links.py); return the failure, or None."""
        self._limit = self._cap = memory_bytes
        for one in (*packages, {"id": "", "label": "", "source": "", "uses": uses}):
            words = [str(one[name]).encode() for name in ("id", "label", "source")]
            words.append(wire.dump(list(one["uses"])))
            self._settle()
            self._lift(sum(map(len, words)))
            linked = self._turn(self._live[5], *words)
            if linked.kind != "done":
                return linked
        return None

    def first_turn(
        self, turn: int, label: str, source: bytes, device: str, arguments: bytes, memory_bytes: int
    ) -> Step:
        """Load a deployed program and run its text as the turn of that number."""
        self._limit = self._cap = memory_bytes
        self._settle()
        self._lift(len(source) + len(arguments))
        return self._begun(turn, self._turn(self._live[0], turn, label.encode(), source, device.encode(), arguments))

    def turn(self, turn: int, what: bytes, key: bytes, payload: bytes = b"") -> Step:
        """Begin a turn: `event`, `eval`, `globals` or `set`, with its arguments."""
        self._lift(len(key) + len(payload))
        return self._begun(turn, self._turn(self._live[1], turn, what, key, payload))

    def event(self, turn: int, key: bytes, payload: bytes) -> Step:
        """Begin a turn that handles an event, in the idle Lua thread of an earlier event if there is one."""
        arriving = 2 * (len(key) + len(payload)) + _SLACK_BYTES
        if self._idle is None or self.memory_used() + arriving > self._limit:
            return self.turn(turn, b"event", key, payload)
        with self._lock:
            self._stop = False
            self._thread, self._hook = self._threads[turn] = self._idle
        self._idle = None
        return self._ended(turn, self._turn(self._live[6], turn, key, payload))

    def resume_turn(self, turn: int, answer: bytes) -> Step:
        """Goes on with the answer to the operation that the turn was suspended at."""
        self._lift(len(answer))
        with self._lock:
            self._stop = False
            self._thread, self._hook = self._threads[turn]
        return self._ended(turn, self._turn(self._live[2], turn, answer))

    def drop_turn(self, turn: int) -> None:
        """Drop a suspended turn."""
        self._threads.pop(turn, None)
        self._turn(self._live[3], turn)

    def check(
        self, label: str, source: bytes, packages: Sequence[Mapping[str, Any]] = (), uses: Sequence[str] = ()
    ) -> Step:
        """Check that the text and its packages compile; nothing is executed."""
        self._limit = CHECK_BYTES
        if packages and (failed := self.link(CHECK_BYTES, packages, uses)):
            return failed
        self._settle()
        self._lift(len(source))
        loaded = self._turn(self._start, label.encode(), source, b"", b'{"m":{}}')
        return Step("done", b"null") if loaded.kind == "thread" else loaded

    def bound(self, free_bytes: int) -> None:
        """Limit it to `free_bytes` more if that is below its own limit: the other programs use the rest."""
        self._limit = max(1, min(self._cap, free_bytes)) if self._cap else 0

    def compact(self) -> None:
        """Collect the garbage of the first turn, most of which is never used again."""
        self._start = self._live[0] = None
        self._lift(_REPORT_BYTES)  # it may have used up its limit
        self._live[4]()
        self._settle()

    def memory_used(self) -> int:
        """Bytes in use beyond the libraries."""
        return int(self._runtime.get_memory_used())

    def _begun(self, turn: int, begun: Step) -> Step:
        if begun.kind != "thread":
            return begun
        self._stop = False
        self._arm(int(begun.payload.rpartition(b"0x")[2], 16))
        self._threads[turn] = self._thread, self._hook
        return self._ended(turn, self._turn(self._live[2], turn))

    def _ended(self, turn: int, step: Step) -> Step:
        thread = self._threads.pop(turn) if step.kind != "call" else None
        with self._lock:
            self._thread = 0
        if step.kind != "idle" or thread is None:
            return step
        if self._stop and _HOOKS:  # it may have come after the end
            _HOOKS.lua_sethook(thread[0], None, 0, 0)
        self._idle = thread
        return NOTHING

    def stop(self) -> None:
        """From another thread: makes the running turn fail with the reason STOPPED, as soon as Lua code runs."""
        with self._lock:
            self._stop = True
            if self._thread and _HOOKS:
                _HOOKS.lua_sethook(self._thread, self._hook, _MASK_COUNT, 1)

    def close(self) -> None:
        """Frees the runtime. The functions that the prelude holds keep this object, so this must be said."""
        with self._lock:
            self._thread = 0
        self._start = self._step = self._report = self._runtime = None
        self._live = []

    def _turn(self, function: Any, *arguments: bytes | int) -> Step:
        try:
            kind, *result = function(*arguments)
        except lua54.LuaError as e:
            if not isinstance(e, lua54.LuaMemoryError) and not _NO_ROOM.search(str(e)):
                return _failure(b"CRASH", f"the engine failed: {e}".encode())
            return self._reported(b"exhausted")
        if kind == b"failed":
            return self._reported(*result)
        return _failure(*result) if kind == b"fail" else Step(kind.decode(), *result)

    def _reported(self, how: bytes) -> Step:
        """Return the report of a failure that Lua has kept, with reserved memory: the program may have left none."""
        self._runtime.set_max_memory(self._runtime.get_memory_used() + _REPORT_BYTES)
        try:
            _, *result = self._report(how)
        except lua54.LuaError:
            result = [b"MEMORY", b"not enough memory"]
        finally:
            self._settle()
        return _failure(*result)

    def _arm(self, thread: int) -> None:
        """Remove the hook: one that counts instructions would nearly double the time of every loop."""
        if not _HOOKS:
            return
        with self._lock:
            self._thread, self._hook = thread, _HOOKS.lua_gethook(thread)
            if not self._stop:
                _HOOKS.lua_sethook(thread, None, 0, 0)

    def _lift(self, arriving: int) -> None:
        """Raise the memory limit while lupa pushes bytes, which must not fail; the prelude restores it."""
        self._runtime.set_max_memory(self._runtime.get_memory_used() + 2 * arriving + _SLACK_BYTES)

    def _settle(self) -> None:
        self._runtime.set_max_memory(self._limit)

    def _refuse(self) -> bytes:
        """Return the error of an operation where Lua cannot be suspended: it would block the worker."""
        self._lift(len(_CANNOT_WAIT))
        return _CANNOT_WAIT

    def _write(self, level: Any, text: Any) -> None:
        if isinstance(level, bytes) and isinstance(text, bytes):
            self._log(level, text)

    def _part(self, name: Any) -> bytes:
        """Return the bytecode of a module loaded on demand; its memory counts as the program's."""
        code = _PARTS[name]
        self._lift(len(code))
        return code

    def _stopped(self) -> bool:
        return self._stop
