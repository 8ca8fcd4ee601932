"""The wall around a worker process: another user, no files, no network, no other process, for the rest of its life.

Raised by the worker itself once its engine is loaded, and never taken down: `Seal.drop` and `Seal.lock` for Python,
`ygg/seal.scm` for Guile with the plan that `Seal.handed_over` writes into a pipe. Needs no privilege. Three layers,
each enough for most attacks:

    seccomp    a list of system calls; every other one fails with EPERM, and another architecture's ends the process
    Landlock   no right to any file, and if the kernel supports it (ABI 4, 6) none to TCP and to other processes
    user       where root starts us: a user that owns nothing, another one for each worker

Without seccomp nothing runs. Landlock and the other user are optional; `READY` reports which are active.
Sources: seccomp(2), seccomp_rule_add(3) of libseccomp, landlock(7). The limits of resources are `bootstrap`'s.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from dataclasses import dataclass

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
FIRST_UID, UIDS = 61184, 4096  # where systemd, too, takes users from that exist while a process does
LIBRARY = "libseccomp.so.2"

# The calls of a ready worker: memory, its socket, its own signals, clocks. None opens or starts anything.
_ALLOWED = (
    *("read", "readv", "write", "writev", "recvfrom", "recvmsg", "sendto", "sendmsg", "close", "lseek", "fstat"),
    *("poll", "ppoll", "select", "pselect6"),
    *("brk", "munmap", "mremap", "madvise"),
    *("futex", "sched_yield", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigsuspend"),
    *("sigaltstack", "restart_syscall", "gettid", "getpid", "getuid", "exit", "exit_group"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times", "getrusage"),
    *("getrandom", "rseq", "membarrier"),
)
_MAPS_MEMORY = ("mmap", "mprotect")
_PROT_EXEC = 4
_ALLOW, _EPERM, _KILL_PROCESS = 0x7FFF0000, 0x00050001, 0x80000000
_ACT_BADARCH = 2
_EQUAL, _MASKED_EQUAL = 4, 7
_SECCOMP_SET_MODE_FILTER, _FILTER_FLAG_TSYNC = 1, 1
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
_LANDLOCK_VERSION = 1
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # bits of access by ABI; 16 since 5


class SandboxError(Exception):
    """The sandbox cannot be set up here; the message says why and how to fix it."""


class _Compare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class Seal:
    """The privileges that this process drops. `uid` 0: keep the current user."""

    parent: int
    uid: int
    seccomp_call: int
    program: bytes
    landlock: bytes
    abi: int

    def handed_over(self) -> int:
        """The descriptor that an engine which is not Python reads the plan from, in lines; it passes to that engine.

        Not as arguments of its command: those are everybody's to read.
        """
        numbers = (self.parent, self.uid, self.seccomp_call)
        words = (*map(str, numbers), self.program.hex(), self.landlock.hex(), self.described())
        ours, theirs = os.pipe()  # holds 64 KiB; a plan has a few
        try:
            os.write(theirs, "\n".join(words).encode())
        finally:
            os.close(theirs)
        os.set_inheritable(ours, True)
        return ours

    def described(self) -> str:
        """Such as `seccomp, landlock 6, user 61200`."""
        landlock = f"landlock {self.abi}" if self.abi else "no landlock"
        return f"seccomp, {landlock}" + (f", user {self.uid}" if self.uid else "")

    def drop(self) -> None:
        """Drop the user and all access to files, for this thread and threads started later."""
        if self.uid:
            os.setgroups([])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)
            prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))  # a change of user forgets it
            if os.getppid() != self.parent:
                raise SystemExit(0)
        prctl(PR_SET_DUMPABLE, 0)
        if self.landlock:
            ruleset = _call(_LANDLOCK_CREATE_RULESET, self.landlock, len(self.landlock), 0)
            _call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
            os.close(ruleset)

    def lock(self) -> None:
        """Block every other system call for all threads; no thread can be started afterwards."""
        code = ctypes.create_string_buffer(self.program, len(self.program))
        header = struct.pack("@HP", len(self.program) // 8, ctypes.addressof(code))
        _call(self.seccomp_call, _SECCOMP_SET_MODE_FILTER, _FILTER_FLAG_TSYNC, header)


def plan(parent: int, *, makes_code: bool) -> Seal:
    """Return the seal of this process; `makes_code` if its engine compiles to machine code. Raise SandboxError."""
    abi = max(0, _try(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION))
    uid = FIRST_UID + os.getpid() % UIDS if os.geteuid() == 0 else 0
    call, program = _filter(makes_code)
    return Seal(parent, uid, call, program, _ruleset(abi), abi)


def prctl(option: int, value: int) -> None:
    """prctl(2); raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _try(number: int, *arguments: int | bytes | None) -> int:
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    result: int = syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)))
    return result


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = _try(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result


def _ruleset(abi: int) -> bytes:
    """struct landlock_ruleset_attr as far as this kernel knows it: every right is handled, and none is given."""
    if not abi:
        return b""
    rights = struct.pack("@Q", (1 << _FS_RIGHTS.get(abi, 16)) - 1)
    if abi >= 4:
        rights += struct.pack("@Q", 0b11)  # to bind and to connect TCP
    if abi >= 6:
        rights += struct.pack("@Q", 0b11)  # abstract sockets and signals of others
    return rights


def _filter(makes_code: bool) -> tuple[int, bytes]:
    """Return the number of seccomp(2) here, and the filter as a BPF program."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as e:
        hint = "Debian: apt-get install libseccomp2"
        raise SandboxError(f"{LIBRARY} is not installed, and without it no script runs. {hint}") from e
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_EPERM)))
    if not context:
        raise SandboxError(f"{LIBRARY} knows no filters for {platform.machine()}")
    try:
        _check(library.seccomp_attr_set(context, _ACT_BADARCH, ctypes.c_uint32(_KILL_PROCESS)), "the architecture")
        for name in _ALLOWED:
            _allow(library, context, name)
        _allow(library, context, "tgkill", _Compare(0, _EQUAL, os.getpid(), 0))  # abort() and the collector's
        for name in _MAPS_MEMORY:
            no_code = () if makes_code else (_Compare(2, _MASKED_EQUAL, _PROT_EXEC, 0),)
            _allow(library, context, name, *no_code)
        return library.seccomp_syscall_resolve_name(b"seccomp"), _exported(library, context)
    finally:
        library.seccomp_release(context)


def _allow(library: ctypes.CDLL, context: ctypes.c_void_p, name: str, *when: _Compare) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        return  # this architecture, or this version of the library, does not have it
    comparisons = (_Compare * max(1, len(when)))(*when)
    _check(library.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, len(when), comparisons), name)


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    ours, theirs = os.pipe()  # holds 64 KiB; a filter has a few hundred bytes
    try:
        _check(library.seccomp_export_bpf(context, theirs), "the filter")
        return os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise SandboxError(f"{LIBRARY} refuses {what}: {os.strerror(-result)}")
