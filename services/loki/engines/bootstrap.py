"""The first a worker process runs: `python -I bootstrap.py lua|scheme[+FD] PARENT_PID [NAME=VALUE… -- PROGRAM…]`.

The service has started us in a session of our own, in /, without environment, and with the socket as descriptor 0.
For workers of living programs, FD is the slice counter. This bounds what we may use, ties our life to the service's
and becomes the engine, which seals itself (`sandbox`) once it is loaded. It imports nothing it need not.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys

MIB = 1024 * 1024
ADDRESS_SPACE_BYTES = 1024 * MIB
CPU_S = 3600
_LIMITS = {
    resource.RLIMIT_AS: ADDRESS_SPACE_BYTES,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_CPU: CPU_S,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_NOFILE: 64,
}


def bound(parent: int, lives: bool) -> None:
    """Set the resource limits, and let the kernel kill the worker when the service exits, even after SIGKILL.

    A worker of deployed programs (`lives`) has no limit of processor time; the service's watchdog bounds its turns.
    """
    from services.loki.engines import sandbox

    sandbox.prctl(sandbox.PR_SET_PDEATHSIG, int(signal.SIGKILL))
    sandbox.prctl(sandbox.PR_SET_NO_NEW_PRIVS, 1)
    if os.getppid() != parent:
        raise SystemExit(0)
    for kind, limit in _LIMITS.items():
        if lives and kind == resource.RLIMIT_CPU:
            continue
        hard = resource.getrlimit(kind)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (value, value))
    os.environ.clear()  # empty but for entries that Python adds


def main(argv: list[str]) -> None:
    """Becomes the worker."""
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..")))  # noqa: PTH100, PTH118, PTH120
    from services.loki.engines.channel import Channel
    from services.loki.engines.sandbox import plan
    from services.loki.engines.slice_counter import SliceCounter
    from services.loki.engines.wire import Kind

    language, _, counter = argv[0].partition("+")
    parent, command = int(argv[1]), argv[2:]
    bound(parent, lives=bool(counter))
    channel = Channel(socket.socket(fileno=0), SliceCounter(int(counter)) if counter else None)
    try:
        seal = plan(parent, makes_code=language == "scheme")
        if language == "scheme":
            cut = command.index("--")
            environment, program = dict(item.split("=", 1) for item in command[:cut]), command[cut + 1 :]
            os.execve(program[0], [*program, str(seal.handed_over()), counter], environment)  # noqa: S606 - our own path
        from services.loki.engines.lua import worker

        if counter:
            os.close(int(counter))
        serve = worker.prepared(channel, seal)
    except Exception as e:  # noqa: BLE001 - every failure is reported to the service, which logs it
        channel.send_json(Kind.FAIL, 0, {"reason": "ENGINE_MISSING", "message": str(e)})
        channel.flush()
        return
    try:
        serve()
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main(sys.argv[1:])
